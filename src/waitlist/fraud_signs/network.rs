//! Where a request came from: what one household or office has of the internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, or the /64 of an IPv6 one, within which a device takes a new address every
/// few hours. None for an address that is not of the internet: a site that passes on the address
/// of its own proxy would else make neighbours of all its visitors.
pub(in crate::waitlist) fn of(address: IpAddr) -> Option<String> {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address).then(|| address.to_string()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let prefix = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
            is_public_v6(address).then(|| format!("{prefix}/64"))
        }
    }
}

/// The addresses of documentation count as public: nobody has them but examples and tests.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_of_a_carrier = a == 100 && (64..128).contains(&b);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || is_of_a_carrier
        || a == 0
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.is_unique_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_the_64_of_one() {
        let table = [
            ("203.0.113.7", Some("203.0.113.7")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:2::9", Some("2001:db8:1:2::/64")),
            ("10.0.0.1", None),
            ("172.16.3.4", None),
            ("192.168.1.1", None),
            ("127.0.0.1", None),
            ("169.254.1.1", None),
            ("100.64.0.1", None),
            ("100.128.0.1", Some("100.128.0.1")),
            ("0.0.0.0", None),
            ("255.255.255.255", None),
            ("::1", None),
            ("fe80::1", None),
            ("fd00::1", None),
            ("ff02::1", None),
        ];
        for (address, expected) in table {
            assert_eq!(of(address.parse().unwrap()).as_deref(), expected, "{address}");
        }
    }
}

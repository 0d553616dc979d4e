//! Which addresses a customer's URL may lead to: those of the public internet, and the networks
//! that the operator has named. Pure.
//!
//! The ranges are those of IANA's special-purpose registries that are not globally reachable,
//! those that carry another address inside, and what is reachable but never a customer's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::canonical;

/// The ranges of IPv4 that no customer's URL may lead to.
const BLOCKED_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared behind a carrier's NAT"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    // What a virtual machine of Azure finds its platform at; elsewhere it is nobody's.
    (v4([168, 63, 129, 16], 32), "a cloud's own"),
    (v4([169, 254, 0, 0], 16), "link-local, with the clouds' metadata"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 31, 196, 0], 24), "AS112"),
    (v4([192, 52, 193, 0], 24), "AMT"),
    (v4([192, 88, 99, 0], 24), "6to4 relays"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([192, 175, 48, 0], 24), "AS112"),
    (v4([198, 18, 0, 0], 15), "benchmarks"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    // With the broadcast address at its end.
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// The same of IPv6. What is not in [`GLOBAL_V6`] is blocked without a line here; those that have
/// one have it for the word.
const BLOCKED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "IPv4-translated"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard-only"),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "a dummy prefix"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmarks"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "AS112"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "SRv6"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// All that IANA has given out as global unicast addresses.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The rule.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

/// A network that the operator allows, such as the company's own: `10.20.0.0/16`, or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedNet(IpNet);

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a network such as 10.20.0.0/16 or fd12::/48, or one address")]
pub struct InvalidNet;

/// An address that no customer's URL may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not on the public internet ({range})")]
pub struct Blocked {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub range: &'static str,
}

impl Guard {
    /// The rule with these exceptions.
    pub fn new(allowed: impl IntoIterator<Item = AllowedNet>) -> Self {
        Self { allowed: allowed.into_iter().map(|AllowedNet(net)| net).collect() }
    }

    /// Whether an address may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Blocked> {
        let address = canonical(address);
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let range = match address {
            IpAddr::V4(address) => blocked_v4(address),
            IpAddr::V6(address) => blocked_v6(address),
        };
        range.map_or(Ok(()), |range| Err(Blocked { address, range }))
    }
}

fn blocked_v4(address: Ipv4Addr) -> Option<&'static str> {
    BLOCKED_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, range)| *range)
}

fn blocked_v6(address: Ipv6Addr) -> Option<&'static str> {
    let named = BLOCKED_V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, range)| *range);
    named.or_else(|| (!GLOBAL_V6.contains(&address)).then_some("not given out"))
}

impl FromStr for AllowedNet {
    type Err = InvalidNet;

    fn from_str(text: &str) -> Result<Self, InvalidNet> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(|net: IpNet| Self(net.trunc())).map_err(|_| InvalidNet)
    }
}

impl fmt::Display for AllowedNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

#[expect(clippy::many_single_char_names, reason = "the eight parts of an address have no names")]
const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(address: &str) -> Option<&'static str> {
        Guard::default().check(address.parse().unwrap()).err().map(|blocked| blocked.range)
    }

    #[test]
    fn the_first_and_last_address_of_every_range_are_blocked_and_their_neighbours_are_not() {
        // First and last; and whether what lies before and after is open.
        let ranges = [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.31.196.0", "192.31.196.255", Some("192.31.195.255"), Some("192.31.197.0")),
            ("192.52.193.0", "192.52.193.255", Some("192.52.192.255"), Some("192.52.194.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("192.175.48.0", "192.175.48.255", Some("192.175.47.255"), Some("192.175.49.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "239.255.255.255", Some("223.255.255.255"), None),
            ("240.0.0.0", "255.255.255.255", None, None),
            ("::", "::", None, None),
            ("::1", "::1", None, None),
            ("::2", "::fffe:ffff", None, None),
            ("::ffff:0:0:0", "::ffff:0:ffff:ffff", None, None),
            ("64:ff9b::", "64:ff9b::ffff:ffff", None, None),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", None, None),
            ("100::", "100::ffff:ffff:ffff:ffff", None, None),
            ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", None, None),
            ("1fff:ffff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2000::")),
            (
                "2001::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2000:ffff::"),
                Some("2001:200::"),
            ),
            (
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2001:db7::"),
                Some("2001:db9::"),
            ),
            (
                "2002::",
                "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2001:ffff::"),
                Some("2003::"),
            ),
            (
                "2620:4f:8000::",
                "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
                Some("2620:4f:7fff::"),
                Some("2620:4f:8001::"),
            ),
            (
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("3ffe:ffff::"),
                Some("3fff:1000::"),
            ),
            ("4000::", "5eff::", None, None),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ];
        for (first, last, before, after) in ranges {
            assert!(range(first).is_some(), "{first}");
            assert!(range(last).is_some(), "{last}");
            for open in [before, after].into_iter().flatten() {
                assert_eq!(range(open), None, "{open}");
            }
        }
    }

    #[test]
    fn the_public_internet_is_open() {
        for address in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"] {
            assert_eq!(range(address), None, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_what_it_is() {
        for address in ["::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:10.0.0.1"] {
            assert!(range(address).is_some(), "{address}");
        }
        assert_eq!(range("::ffff:1.1.1.1"), None);
        for address in ["::127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "::ffff:0:127.0.0.1"]
        {
            assert!(range(address).is_some(), "{address}");
        }
    }

    #[test]
    fn the_metadata_of_the_clouds_is_out_of_reach() {
        for address in
            ["169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"]
        {
            assert!(range(address).is_some(), "{address}");
        }
    }

    #[test]
    fn a_network_that_is_allowed_is_open_and_its_neighbour_is_not() {
        let allowed = ["10.20.0.0/16", "fd12:3456::/32", "127.0.0.1"];
        let guard = Guard::new(allowed.map(|net| net.parse().unwrap()));
        let is_open = |address: &str| guard.check(address.parse().unwrap()).is_ok();
        for address in ["10.20.0.1", "10.20.255.255", "fd12:3456::1", "127.0.0.1", "1.1.1.1"] {
            assert!(is_open(address), "{address}");
        }
        assert!(is_open("::ffff:10.20.0.1"), "it is judged as what it is");
        for address in ["10.21.0.0", "10.19.255.255", "fd12:3457::1", "127.0.0.2", "::1"] {
            assert!(!is_open(address), "{address}");
        }
    }

    #[test]
    fn a_network_is_written_as_one() {
        assert_eq!("10.20.30.40/16".parse::<AllowedNet>().unwrap().to_string(), "10.20.0.0/16");
        for text in ["", "10.20.0.0/33", "10.20", "example.com", "10.0.0.0/8,fd00::/8", "::1/129"] {
            assert_eq!(text.parse::<AllowedNet>(), Err(InvalidNet), "{text}");
        }
    }
}

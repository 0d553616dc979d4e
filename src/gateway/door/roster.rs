//! Who is connected: how many in all and from one address, and who goes when others need the
//! place.
//!
//! A newcomer is never left waiting behind those who only hold their place. At a bound the
//! connection goes that has never sent a whole request, else the one that has been silent for
//! longest, else the one whose request's body has kept waiting for longest; only where every one
//! of them is being answered is the newcomer turned away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::presence::Presence;

/// The connections.
pub(super) struct Roster {
    in_all_max: usize,
    per_address_max: usize,
    seated: Mutex<Seated>,
}

#[derive(Default)]
struct Seated {
    next: u64,
    by_number: HashMap<u64, (IpAddr, Arc<Presence>)>,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of a connection, until it is dropped.
pub(super) struct Seat {
    roster: Arc<Roster>,
    number: u64,
    pub(super) presence: Arc<Presence>,
}

impl Roster {
    pub(super) fn new(in_all_max: usize, per_address_max: usize) -> Self {
        Self { in_all_max, per_address_max, seated: Mutex::default() }
    }

    /// A place for a connection from this address, if need be that of another one. None if all
    /// others are being answered. The token's child ends it.
    pub(super) fn seat(
        self: &Arc<Self>,
        address: IpAddr,
        stop: &CancellationToken,
    ) -> Option<Seat> {
        let address = counted_as(address);
        let mut seated = self.seated();
        let from_there = seated.by_address.get(&address).copied().unwrap_or_default();
        if from_there >= self.per_address_max {
            seated.make_room(Some(address))?;
        } else if seated.by_number.len() >= self.in_all_max {
            seated.make_room(None)?;
        }
        let presence = Arc::new(Presence::new(stop.child_token()));
        let number = seated.next;
        seated.next += 1;
        seated.by_number.insert(number, (address, Arc::clone(&presence)));
        *seated.by_address.entry(address).or_default() += 1;
        drop(seated);
        Some(Seat { roster: Arc::clone(self), number, presence })
    }

    /// Ends the connection that costs least: the system has no more handles.
    pub(super) fn make_room(&self) {
        self.seated().make_room(None);
    }

    fn seated(&self) -> MutexGuard<'_, Seated> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seated {
    /// Ends a connection, of this address or of any, that is not being answered.
    fn make_room(&mut self, of: Option<IpAddr>) -> Option<()> {
        let (_, number) = self
            .by_number
            .iter()
            .filter(|(_, (address, _))| of.is_none_or(|of| of == *address))
            .filter_map(|(number, (_, presence))| {
                Some(((presence.worth()?, presence.since()), *number))
            })
            .min()?;
        let presence = self.remove(number)?;
        presence.leave();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Presence>> {
        let (address, presence) = self.by_number.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(presence)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.seated().remove(self.number);
    }
}

/// An IPv6 network of one customer counts as one address: it has 2^64 of them.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_gone(seat: &Seat) -> bool {
        seat.presence.leaving().is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_takes_the_place_of_whoever_only_holds_it() {
        let (roster, stop) = (Arc::new(Roster::new(4, 4)), CancellationToken::new());
        let seats: Vec<Seat> =
            (0..4).map(|last| roster.seat(address(last), &stop).unwrap()).collect();
        let busy = seats[0].presence.asked();
        drop(seats[1].presence.asked());
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(seats[2].presence.asked());
        // The fourth has never asked.
        let newcomers: Vec<Seat> = (4..7)
            .map(|last| {
                let seat = roster.seat(address(last), &stop).unwrap();
                std::mem::forget(seat.presence.asked());
                seat
            })
            .collect();
        assert_eq!(seats.iter().map(is_gone).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(roster.seat(address(9), &stop).is_none(), "all are being answered");
        drop(busy);
        assert!(roster.seat(address(9), &stop).is_some());
        assert!(is_gone(&seats[0]) && !newcomers.iter().any(is_gone));
        drop((seats, newcomers));
        assert!(roster.seated().by_number.is_empty() && roster.seated().by_address.is_empty());
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let (roster, stop) = (Arc::new(Roster::new(10, 2)), CancellationToken::new());
        let other = roster.seat(address(1), &stop).unwrap();
        let seats: Vec<Seat> = (0..5).map(|_| roster.seat(address(2), &stop).unwrap()).collect();
        assert_eq!(seats.iter().filter(|seat| !is_gone(seat)).count(), 2);
        assert!(!is_gone(&other), "nobody else goes for it");
        assert!(!stop.is_cancelled());
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_are_one_address() {
        let of = |text: &str| counted_as(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), address(1));
    }
}

//! Who holds how many of a limited number of places, and who gives one up when all are taken. Pure: no clock, no sockets.
//!
//! A client is whoever shows one key from one address. Its share is bounded, so that the twenty-first stream is turned away
//! while there is room. When all places are taken, a newcomer gets one only from a client that would still hold more than
//! the newcomer does: the one that holds most loses its oldest. Where everybody holds one, nobody gives way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};

use flagfuse_shared::snapshot::KeyId;

/// A key and an address, as a number. Two clients of one number share a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(u64);

impl Client {
    /// Whoever shows `key` from `address`, as far as the platform tells one. One line at home has a whole IPv6 network: the
    /// first 64 bits are the address.
    pub fn of(key: KeyId, address: Option<&str>) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        match address.map(|text| text.parse::<IpAddr>().map(|address| address.to_canonical())) {
            Some(Ok(IpAddr::V6(address))) => prefix(address).hash(&mut hasher),
            Some(Ok(IpAddr::V4(address))) => address.to_bits().hash(&mut hasher),
            // Nothing that a client may spell in many ways.
            Some(Err(_)) | None => {}
        }
        Self(hasher.finish())
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

const fn prefix(address: Ipv6Addr) -> u128 {
    address.to_bits() >> 64
}

/// Who has to give a place up for a newcomer that holds `own`, given what each holds.
pub fn gives_way(counts: &BTreeMap<Client, usize>, own: usize) -> Option<Client> {
    let (client, most) = counts.iter().max_by_key(|(_, count)| **count)?;
    // Afterwards the newcomer holds one more and the other one less: equals would go on taking it from each other.
    (*most > own + 1).then_some(*client)
}

/// A place that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlaceId(u64);

/// All places of a kind.
#[derive(Debug)]
pub struct Shares {
    place_count_max: usize,
    share_max: usize,
    /// Taken ones that have a right to be, by age.
    seats: BTreeMap<PlaceId, Client>,
    counts: BTreeMap<Client, usize>,
    /// Those that have to give way and are still there.
    leaving: BTreeSet<PlaceId>,
    next: u64,
}

impl Shares {
    /// None is taken. One client gets `share_max` at most.
    pub const fn new(place_count_max: usize, share_max: usize) -> Self {
        Self {
            place_count_max,
            share_max,
            seats: BTreeMap::new(),
            counts: BTreeMap::new(),
            leaving: BTreeSet::new(),
            next: 0,
        }
    }

    /// A place for a client; `None` when it has its share, or there is none and nobody has to give way.
    pub fn take(&mut self, client: Client) -> Option<PlaceId> {
        let own = self.counts.get(&client).copied().unwrap_or(0);
        if own >= self.share_max {
            return None;
        }
        if self.seats.len() >= self.place_count_max {
            // Those that leave go on holding memory for a while.
            let may_leave = self.leaving.len() < self.place_count_max / LEAVING_PART;
            let giver = gives_way(&self.counts, own).filter(|_| may_leave)?;
            let oldest = self.seats.iter().find(|(_, holder)| **holder == giver).map(|(place, _)| *place)?;
            self.vacate(oldest);
            self.leaving.insert(oldest);
        }
        let place = PlaceId(self.next);
        self.next += 1;
        self.seats.insert(place, client);
        *self.counts.entry(client).or_default() += 1;
        Some(place)
    }

    fn vacate(&mut self, place: PlaceId) {
        let Some(client) = self.seats.remove(&place) else { return };
        let left = self.counts.get(&client).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            self.counts.remove(&client);
        } else {
            self.counts.insert(client, left);
        }
    }

    /// The place is free again.
    pub fn give_back(&mut self, place: PlaceId) {
        self.vacate(place);
        self.leaving.remove(&place);
    }

    /// Whether whoever has this place has to give way.
    pub fn has_to_leave(&self, place: PlaceId) -> bool {
        self.leaving.contains(&place)
    }

    /// Places that somebody is in.
    pub fn count(&self) -> usize {
        self.seats.len() + self.leaving.len()
    }
}

/// Of the places, this part may be left at the same time.
const LEAVING_PART: usize = 10;

#[cfg(test)]
mod tests {
    use flagfuse_shared::digest::Digest;

    use super::*;

    fn client(name: &str) -> Client {
        Client::of(KeyId::of(&Digest::of(name.as_bytes())), Some("192.0.2.7"))
    }

    fn fill(shares: &mut Shares, name: &str, count: usize) -> Vec<PlaceId> {
        (0..count).map_while(|_| shares.take(client(name))).collect()
    }

    #[test]
    fn one_client_gets_its_share_and_no_more() {
        let mut shares = Shares::new(100, 20);
        let places = fill(&mut shares, "greedy", 50);
        assert_eq!((places.len(), shares.count()), (20, 20));
        shares.give_back(places[3]);
        assert!(shares.take(client("greedy")).is_some() && shares.take(client("greedy")).is_none());
        assert!(shares.take(client("other")).is_some());
    }

    #[test]
    fn when_all_places_are_taken_whoever_holds_most_loses_its_oldest() {
        let mut shares = Shares::new(40, 20);
        let few = fill(&mut shares, "few", 15);
        let many = fill(&mut shares, "many", 20);
        let some = fill(&mut shares, "some", 5);
        let place = shares.take(client("new")).unwrap();
        assert!(shares.has_to_leave(many[0]) && !shares.has_to_leave(many[1]));
        assert!(!few.iter().chain(&some).any(|place| shares.has_to_leave(*place)));
        assert_eq!(shares.count(), 41, "it is still there");
        shares.give_back(many[0]);
        shares.give_back(place);
        assert_eq!(shares.count(), 39);
        assert_eq!(shares.take(client("new")).map(|_| shares.count()), Some(40));
    }

    #[test]
    fn those_who_leave_are_bounded_and_honest_crowds_displace_nobody() {
        let mut shares = Shares::new(40, 20);
        fill(&mut shares, "a", 20);
        fill(&mut shares, "b", 20);
        let seated = (0..10).filter(|n| shares.take(client(&format!("new {n}"))).is_some()).count();
        assert_eq!((seated, shares.count()), (40 / LEAVING_PART, 44));

        let mut shares = Shares::new(40, 20);
        for n in 0..40 {
            assert!(shares.take(client(&format!("one {n}"))).is_some());
        }
        assert!(shares.take(client("late")).is_none(), "everybody holds one");
        assert!(shares.take(client("one 1")).is_none());
    }

    #[test]
    fn nobody_takes_from_equals() {
        let counts = BTreeMap::from([(client("a"), 3), (client("b"), 1)]);
        assert_eq!(gives_way(&counts, 1), Some(client("a")));
        assert_eq!(gives_way(&counts, 2), None, "afterwards it would hold 3 and the other 2");
        assert_eq!(gives_way(&BTreeMap::new(), 0), None);
    }

    #[test]
    fn an_address_is_what_one_line_has() {
        let key = KeyId::of(&Digest::of(b"k"));
        let of = |address: &str| Client::of(key, Some(address));
        for (one, other, is_same) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("nonsense", "other nonsense", true),
        ] {
            assert_eq!(of(one) == of(other), is_same, "{one} {other}");
        }
        assert_eq!(Client::of(key, None), of("nonsense"));
        assert_ne!(Client::of(KeyId::of(&Digest::of(b"other")), None), Client::of(key, None));
        assert_eq!(Client::parse(&of("192.0.2.7").to_string()), Some(of("192.0.2.7")));
    }
}

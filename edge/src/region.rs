//! Regions: where they are, which one is near, and how a region's objects are named. Pure: asks no platform.

use flagfuse_shared::ids::TenantKey;
use flagfuse_shared::limits::SHARD_COUNT_MAX;

/// Which replica this is; its object's name says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Region, as receipts name it.
    pub region: String,
    /// Isolation boundary: everything it holds belongs to this tenant.
    pub tenant: TenantKey,
    /// Which of the region's replicas.
    pub shard: u16,
}

/// Degrees north and east.
pub type Position = (f64, f64);

/// The location hints that a Durable Object's first request may give
/// (developers.cloudflare.com/durable-objects/reference/data-location), with a large colocation in each.
const HINTS: [(&str, Position); 9] = [
    ("wnam", (37.4, -122.0)),
    ("enam", (39.0, -77.5)),
    ("sam", (-23.5, -46.6)),
    ("weur", (50.1, 8.7)),
    ("eeur", (52.2, 21.0)),
    ("apac", (1.4, 103.8)),
    ("oc", (-33.9, 151.2)),
    ("afr", (-26.2, 28.0)),
    ("me", (25.2, 55.3)),
];

/// The hint for a region's objects; `None` when its name is not one of the platform's.
pub fn location_hint(region: &str) -> Option<&'static str> {
    HINTS.iter().find(|(name, _)| *name == region).map(|(name, _)| *name)
}

fn position(region: &str) -> Option<Position> {
    HINTS.iter().find(|(name, _)| *name == region).map(|(_, position)| *position)
}

/// Grows with the distance on the globe: the squared length of the straight line between two places.
fn distance(a: Position, b: Position) -> f64 {
    let vector = |(north, east): Position| {
        let (north, east) = (north.to_radians(), east.to_radians());
        [north.cos() * east.cos(), north.cos() * east.sin(), north.sin()]
    };
    vector(a).into_iter().zip(vector(b)).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The region nearest to a request; the first one when the place of the request or of all regions is unknown.
pub fn nearest(regions: &[String], from: Option<Position>) -> Option<&str> {
    let placed = regions.iter().filter_map(|region| Some((region.as_str(), position(region)?)));
    from.and_then(|from| {
        placed
            .min_by(|(_, a), (_, b)| distance(from, *a).total_cmp(&distance(from, *b)))
            .map(|(name, _)| name)
    })
    .or_else(|| regions.first().map(String::as_str))
}

/// The region that is asked when `own` does not answer: the nearest other one, or the next in the list where places are
/// unknown. `None` when there is no other.
pub fn neighbour<'r>(regions: &'r [String], own: &str) -> Option<&'r str> {
    let at = regions.iter().position(|region| region == own).map_or(0, |at| at + 1);
    // From the next one on, around.
    let others = || {
        regions.iter().cycle().skip(at).take(regions.len()).map(String::as_str).filter(|name| *name != own)
    };
    let near = position(own).and_then(|from| {
        let placed = others().filter_map(|name| Some((name, distance(from, position(name)?))));
        placed.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(name, _)| name)
    });
    near.or_else(|| others().next())
}

/// The name of a replica's object.
pub fn replica_name(region: &str, tenant: &TenantKey, shard: u16) -> String {
    format!("{region}/{tenant}/{shard}")
}

/// Which replica an object is, by its name.
pub fn read_replica_name(name: &str) -> Option<Identity> {
    let [region, tenant, shard] = <[&str; 3]>::try_from(name.split('/').collect::<Vec<_>>()).ok()?;
    let shard = read_shard(shard)?;
    Some(Identity { region: region.to_owned(), tenant: TenantKey::parse(tenant).ok()?, shard })
}

/// A shard's number; two spellings of one must not exist, since each would be an object of its own.
pub fn read_shard(text: &str) -> Option<u16> {
    text.parse().ok().filter(|shard: &u16| *shard < SHARD_COUNT_MAX && shard.to_string() == text)
}

/// The region in the name of any object.
pub fn region_of_object(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// A shard for an isolate's life. `random` is uniform in 0..1.
pub fn draw_shard(shards: u16, random: f64) -> u16 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to below 16")]
    let drawn = (f64::from(shards) * random.clamp(0.0, 1.0)) as u16;
    drawn.min(shards.saturating_sub(1))
}

/// Which region's replica keeps the copies in KV: one, since KV takes one write a second and key.
pub fn is_kv_writer(regions: &[String], identity: &Identity) -> bool {
    identity.shard == 0 && regions.first().is_some_and(|first| *first == identity.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_request_goes_to_the_region_it_is_near() {
        let all = list(&["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"]);
        for (place, from, expected) in [
            ("Portland", (45.5, -122.7), "wnam"),
            ("Toronto", (43.7, -79.4), "enam"),
            ("Bogota", (4.7, -74.1), "enam"),
            ("Buenos Aires", (-34.6, -58.4), "sam"),
            ("Madrid", (40.4, -3.7), "weur"),
            ("Kyiv", (50.5, 30.5), "eeur"),
            ("Nairobi", (-1.3, 36.8), "afr"),
            ("Riyadh", (24.7, 46.7), "me"),
            ("Tokyo", (35.7, 139.7), "apac"),
            ("Auckland", (-36.8, 174.8), "oc"),
            // Across the date line: longitudes differ by 330 degrees, places by little.
            ("Honolulu", (21.3, -157.9), "wnam"),
            ("Suva", (-18.1, 178.4), "oc"),
        ] {
            assert_eq!(nearest(&all, Some(from)), Some(expected), "{place}");
        }
        assert_eq!(nearest(&list(&["sam", "oc"]), Some((50.0, 8.0))), Some("sam"));
        assert_eq!(nearest(&list(&["sam", "oc"]), None), Some("sam"));
        assert_eq!(nearest(&list(&["home", "oc"]), Some((50.0, 8.0))), Some("oc"));
        assert_eq!(nearest(&list(&["home"]), Some((50.0, 8.0))), Some("home"));
        assert_eq!(nearest(&[], None), None);
    }

    #[test]
    fn a_neighbour_is_the_nearest_other_region_or_the_next_in_the_list() {
        let all = list(&["wnam", "enam", "weur", "eeur", "apac", "oc"]);
        for (own, expected) in [("wnam", "enam"), ("weur", "eeur"), ("eeur", "weur"), ("oc", "apac")] {
            assert_eq!(neighbour(&all, own), Some(expected));
        }
        let unplaced = list(&["a", "b", "c"]);
        for (own, expected) in [("a", "b"), ("b", "c"), ("c", "a"), ("elsewhere", "a")] {
            assert_eq!(neighbour(&unplaced, own), Some(expected));
        }
        assert_eq!(neighbour(&list(&["local"]), "local"), None);
        assert_eq!(neighbour(&list(&["weur", "home"]), "weur"), Some("home"));
    }

    #[test]
    fn hints_are_given_for_the_platforms_own_names_only() {
        assert_eq!(location_hint("weur"), Some("weur"));
        assert_eq!(location_hint("local"), None);
    }

    #[test]
    fn a_replicas_name_gives_its_identity_back() {
        let tenant = TenantKey::parse("default").unwrap();
        let name = replica_name("weur", &tenant, 3);
        assert_eq!(name, "weur/default/3");
        let expected = Identity { region: "weur".to_owned(), tenant, shard: 3 };
        assert_eq!(read_replica_name(&name), Some(expected));
        for bad in ["", "weur/default", "weur/default/03", "weur/default/16", "weur/default/-1", "a/b/c/0"] {
            assert_eq!(read_replica_name(bad), None, "{bad:?}");
        }
        assert_eq!(region_of_object("weur/default/demo/dev/0"), "weur");
    }

    #[test]
    fn shards_are_drawn_evenly() {
        let drawn: Vec<u16> = (0..8).map(|n| draw_shard(4, f64::from(n) / 8.0)).collect();
        assert_eq!(drawn, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!((draw_shard(4, 1.0), draw_shard(1, 0.99), draw_shard(0, 0.5)), (3, 0, 0));
    }

    #[test]
    fn one_replica_of_all_keeps_the_copies() {
        let regions = list(&["weur", "enam"]);
        let keeps = |region: &str, shard| {
            let tenant = TenantKey::parse("default").unwrap();
            is_kv_writer(&regions, &Identity { region: region.to_owned(), tenant, shard })
        };
        assert!(keeps("weur", 0));
        assert!(!keeps("weur", 1) && !keeps("enam", 0));
    }
}

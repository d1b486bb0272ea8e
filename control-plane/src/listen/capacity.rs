//! How many connections the process can afford: what its limit of open files leaves beside database, keys and pushers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections at most, however many files may be open: each may hold a head of 64 KiB, so 128 MiB.
const CONNECTION_COUNT_MAX: u64 = 2_048;
/// Files that are not connections: five of the database with its log and index, keys being read, the sockets of 9 × 16
/// replicas, and connections that are on their way out.
const RESERVED_COUNT: u64 = 384;

/// Raises the limit of open files as far as it is of use and allowed; how many connections fit.
pub fn claim() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = CONNECTION_COUNT_MAX + RESERVED_COUNT;
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let open_count_max = match current {
        Some(current) if current < raised => {
            let limit = Rlimit { current: Some(raised), maximum };
            setrlimit(Resource::Nofile, limit).map_or(current, |()| raised)
        }
        Some(current) => current,
        None => wanted,
    };
    connections(open_count_max)
}

/// What is left beside the reserve, which is half of a limit that is hardly larger.
fn connections(open_count_max: u64) -> usize {
    let left = open_count_max - RESERVED_COUNT.min(open_count_max / 2);
    usize::try_from(left.min(CONNECTION_COUNT_MAX)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_stays_free_and_memory_stays_bounded() {
        for (open_count_max, expected) in [
            (0, 0),
            (64, 32),
            (768, 384),
            (769, 385),
            (1_024, 640),
            (2_432, 2_048),
            (2_433, 2_048),
            (1 << 20, 2_048),
        ] {
            assert_eq!(connections(open_count_max), expected, "of {open_count_max}");
        }
    }
}

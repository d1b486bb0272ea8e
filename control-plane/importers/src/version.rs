//! Version texts that other systems read leniently, written out in full for our strict operators. Compares nothing.

pub(crate) use flagfuse_shared::condition::in_full;

/// The smallest version with this major number, and with its minor number if given: below its own pre-releases.
pub(crate) fn floor(major: u64, minor: u64) -> String {
    // A lone numeric 0 is the lowest identifier there is (Semantic Versioning 2.0.0, section 11.4).
    format!("{major}.{minor}.0-0")
}

/// Major and minor number of a version in full.
pub(crate) fn major_minor(full: &str) -> Option<(u64, u64)> {
    let mut numbers = full.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_and_minor_are_read_from_a_full_version() {
        assert_eq!(major_minor("1.2.3-a"), Some((1, 2)));
        assert_eq!(major_minor("99999999999999999999.0.0"), None);
        assert_eq!(floor(2, 0), "2.0.0-0");
    }
}

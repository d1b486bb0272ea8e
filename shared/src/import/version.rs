//! Version texts that other systems read leniently, written out in full for our strict operators. Compares nothing.

/// `1`, `1.2` and `1.2.3`, each with an optional pre-release and build, as `major.minor.patch` and the rest.
///
/// Only fills in what is missing: whether the result is a version is decided where the condition is compiled.
pub(crate) fn in_full(text: &str) -> Option<String> {
    let core_len = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at_checked(core_len)?;
    let mut numbers: Vec<&str> = core.split('.').collect();
    let is_number = |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if numbers.len() > 3 || !numbers.iter().all(is_number) {
        return None;
    }
    numbers.resize(3, "0");
    Some(numbers.join(".") + rest)
}

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
    fn missing_numbers_become_zeros_and_nothing_else_changes() {
        let rows = [
            ("1", Some("1.0.0")),
            ("1.2", Some("1.2.0")),
            ("1.2.3", Some("1.2.3")),
            ("2.0-rc1", Some("2.0.0-rc1")),
            ("2+build.7", Some("2.0.0+build.7")),
            ("1.2.3-a.b+c", Some("1.2.3-a.b+c")),
            ("1.2.3.4", None),
            ("v1.2.3", None),
            ("1..3", None),
            ("", None),
            ("-1", None),
            ("ä", None),
        ];
        for (text, expected) in rows {
            assert_eq!(in_full(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn major_and_minor_are_read_from_a_full_version() {
        assert_eq!(major_minor("1.2.3-a"), Some((1, 2)));
        assert_eq!(major_minor("99999999999999999999.0.0"), None);
        assert_eq!(floor(2, 0), "2.0.0-0");
    }
}

//! What people are called when they sign in, and what a password has to be. Pure.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

/// Bytes of an account's name.
pub const NAME_LEN_MAX: usize = 64;
/// Characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Bytes of a password as it comes. Hashing takes as long for a longer one as for this.
pub const PASSWORD_LEN_MAX: usize = 1_024;

/// Why a name or a password is none. Never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountFault {
    #[error("the name of an account has 1 to {NAME_LEN_MAX} bytes, this has {len}")]
    NameLength { len: usize },
    /// What looks like another character is another account, so there are few.
    #[error(
        "the name of an account begins with a letter or a digit and has a to z, 0 to 9 and . _ + @ - alone, {found:?} is \
         none of them"
    )]
    NameCharacter { found: char },
    #[error("a password has {PASSWORD_CHARS_MIN} characters or more, this has {count}")]
    PasswordShort { count: usize },
    #[error("a password has {PASSWORD_LEN_MAX} bytes at most, this has {len}")]
    PasswordLong { len: usize },
}

/// A name as it is kept: in compatibility form (NFKC) and lower case, and then of ASCII letters, digits and `._+@-` alone. So
/// whatever looks like it either is this name or is none.
pub fn account_name(text: &str) -> Result<String, AccountFault> {
    // Before anything is made of it: its form may be longer.
    let bounded = text.len() <= 4 * NAME_LEN_MAX;
    let name: String =
        if bounded { text.trim().nfkc().flat_map(char::to_lowercase).collect() } else { text.to_owned() };
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        return Err(AccountFault::NameLength { len: name.len() });
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_allowed = |(at, c): &(usize, char)| is_plain(*c) || (*at > 0 && "._+@-".contains(*c));
    match name.char_indices().find(|found| !is_allowed(found)) {
        None => Ok(name),
        Some((_, found)) => Err(AccountFault::NameCharacter { found }),
    }
}

/// A password that is short enough to be looked at, in the one form (NFC) that keyboards differ from.
pub fn normal_password(text: &str) -> Result<String, AccountFault> {
    if text.len() > PASSWORD_LEN_MAX {
        return Err(AccountFault::PasswordLong { len: text.len() });
    }
    Ok(text.nfc().collect())
}

/// The same of one that somebody chooses.
pub fn new_password(text: &str) -> Result<String, AccountFault> {
    let password = normal_password(text)?;
    let count = password.chars().count();
    if count < PASSWORD_CHARS_MIN {
        return Err(AccountFault::PasswordShort { count });
    }
    Ok(password)
}

/// A password as it is kept. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_one_or_none() {
        for (text, name) in [
            ("alice", "alice"),
            (" Alice ", "alice"),
            ("ＡＬＩＣＥ", "alice"),
            ("Alice@Example.com", "alice@example.com"),
            // The sign for Kelvin is a K.
            ("\u{212a}im", "kim"),
        ] {
            assert_eq!(account_name(text).as_deref(), Ok(name), "{text:?}");
        }
        // A Cyrillic a, a dotless i, a combining accent, a space that has no width, a right-to-left override.
        for text in ["аlice", "alıce", "alíce", "ali\u{200b}ce", "\u{202e}ecila", "a b", "-a", "a\0", "größe"]
        {
            let refused = account_name(text);
            assert!(matches!(refused, Err(AccountFault::NameCharacter { .. })), "{text:?}: {refused:?}");
        }
        for text in ["", "  ", &"a".repeat(65), &"a".repeat(10_000)] {
            let refused = account_name(text);
            assert!(matches!(refused, Err(AccountFault::NameLength { .. })), "{refused:?}");
        }
        assert!(account_name(&"a".repeat(64)).is_ok());
    }

    #[test]
    fn a_password_is_the_same_however_it_was_typed_and_has_bounds() {
        assert_eq!(new_password("pa\u{0308}ssword-long"), new_password("p\u{00e4}ssword-long"));
        assert_eq!(new_password("short"), Err(AccountFault::PasswordShort { count: 5 }));
        let long = "x".repeat(PASSWORD_LEN_MAX + 1);
        assert_eq!(normal_password(&long), Err(AccountFault::PasswordLong { len: PASSWORD_LEN_MAX + 1 }));
        assert!(new_password(&"x".repeat(PASSWORD_LEN_MAX)).is_ok());
        let shown = format!("{:?}", PasswordHash("secret".to_owned()));
        assert!(!shown.contains("secret"), "{shown}");
    }
}

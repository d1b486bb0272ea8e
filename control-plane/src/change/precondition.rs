//! Preconditions of RFC 9110, section 13.1: which state of something a writer has seen. Pure: compares, and reads no row.

use std::fmt;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::SnapshotVersion;

/// Tags that one request may list. A writer has seen one state, hardly ever a few.
const TAG_COUNT_MAX: usize = 32;

/// The state of something that can be changed, as `ETag` tells it: always a strong one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Of what has a revision.
    pub fn revision(revision: u64) -> Self {
        Self(revision.to_string())
    }

    /// Of what has no number of its own; half of the digest tells states apart.
    pub fn content(digest: &Digest) -> Self {
        Self(digest.to_string().chars().take(32).collect())
    }

    /// Of a whole environment.
    pub fn version(version: SnapshotVersion) -> Self {
        Self(version.to_string())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// A tag that a request lists.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ListedTag {
    opaque: String,
    is_weak: bool,
}

/// What one header says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed {
    /// `*`: any state, as long as there is one.
    Any,
    Tags(Vec<ListedTag>),
}

/// What a request asks of the state that it finds. Nothing, by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preconditions {
    matching: Option<Listed>,
    none_matching: Option<Listed>,
    /// What the body says it was read at.
    read: Option<Tag>,
    enabled: EnabledField,
    /// Whether something has to be said of what is there.
    is_required: bool,
}

/// Whether a body says if its flag is to be on. Left out it means on, which is right for a new flag; of one that somebody
/// switched off nobody has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum EnabledField {
    #[default]
    Named,
    LeftOut,
}

/// Why a header means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Neither `*` nor a list of tags.
    #[error("expected * or a list of tags like \"7\", found {found:?}")]
    Malformed {
        /// The rest of the header, from where it means nothing.
        found: String,
    },
    /// More tags than the limit.
    #[error("more than {TAG_COUNT_MAX} tags")]
    TooMany,
}

/// Which condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// What is there is not what `If-Match` lists, or there is nothing.
    Match,
    /// What is there is what `If-None-Match` rules out.
    NoneMatch,
    /// What is there is not what the body was read from, or there is nothing.
    Read,
    /// Something is there, and nothing says which state of it was seen.
    Unsaid,
}

impl Preconditions {
    /// Reads the values of both headers; several lines of one header are one list.
    pub fn parse<'h>(
        if_match: impl Iterator<Item = &'h [u8]>,
        if_none_match: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Self, (&'static str, HeaderFault)> {
        Ok(Self {
            matching: listed(if_match).map_err(|fault| ("if-match", fault))?,
            none_matching: listed(if_none_match).map_err(|fault| ("if-none-match", fault))?,
            read: None,
            enabled: EnabledField::Named,
            is_required: false,
        })
    }

    /// The same of somebody who has to say which state was seen: a person who looked at a page some time ago.
    #[must_use]
    pub fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Whether neither headers nor the body say anything of the state.
    const fn is_unsaid(&self) -> bool {
        self.matching.is_none() && self.none_matching.is_none() && self.read.is_none()
    }

    /// The same for a body that was read here and says at which revision: somebody may have written since, and what they
    /// wrote would be lost. Headers are said for this request, so they decide alone where there are any.
    #[must_use]
    pub fn read_at(self, revision: Option<u64>) -> Self {
        let is_said = self.matching.is_some() || self.none_matching.is_some();
        Self { read: revision.filter(|_| !is_said).map(Tag::revision), ..self }
    }

    /// Whether the body says at which revision it was read.
    pub(super) const fn is_read(&self) -> bool {
        self.read.is_some()
    }

    /// Without what the body says of its revision, and without having to say anything: for what changes nothing.
    pub(super) fn of_headers(&self) -> Self {
        Self { read: None, is_required: false, ..self.clone() }
    }

    /// The same of a body that does not say whether its flag is to be on: what is off has to stay off, then.
    #[must_use]
    pub fn without_enabled(self) -> Self {
        Self { enabled: EnabledField::LeftOut, ..self }
    }

    /// Whether what is off may be switched on.
    pub(super) fn admit_switching_on(&self) -> bool {
        self.enabled == EnabledField::Named
    }

    /// Compares with the state that is there; `None` when nothing is.
    pub fn check(&self, current: Option<&Tag>) -> Result<(), Unmet> {
        if self.is_required && self.is_unsaid() && current.is_some() {
            return Err(Unmet::Unsaid);
        }
        let is_met = match &self.matching {
            None => true,
            Some(Listed::Any) => current.is_some(),
            // The strong comparison: a weak tag is nobody's equal.
            Some(Listed::Tags(tags)) => tags.iter().any(|tag| !tag.is_weak && tag.names(current)),
        };
        if !is_met {
            return Err(Unmet::Match);
        }
        let is_ruled_out = match &self.none_matching {
            None => false,
            Some(Listed::Any) => current.is_some(),
            Some(Listed::Tags(tags)) => tags.iter().any(|tag| tag.names(current)),
        };
        if is_ruled_out {
            return Err(Unmet::NoneMatch);
        }
        match &self.read {
            Some(read) if current != Some(read) => Err(Unmet::Read),
            Some(_) | None => Ok(()),
        }
    }
}

impl ListedTag {
    fn names(&self, current: Option<&Tag>) -> bool {
        current.is_some_and(|current| current.0 == self.opaque)
    }
}

/// `None` without a line.
fn listed<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Result<Option<Listed>, HeaderFault> {
    let lines: Vec<&[u8]> = lines.collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let joined = lines.join(&b","[..]);
    // No tag of ours has anything but ASCII: what becomes of other bytes does not matter, as long as it is none of ours.
    let text = String::from_utf8_lossy(&joined);
    if text.trim() == "*" {
        return Ok(Some(Listed::Any));
    }
    tags(&text).map(|tags| Some(Listed::Tags(tags)))
}

/// `#entity-tag`: at least one, with commas between, and empty elements allowed. A tag may have commas inside.
fn tags(text: &str) -> Result<Vec<ListedTag>, HeaderFault> {
    let malformed = |rest: &str| HeaderFault::Malformed { found: rest.chars().take(80).collect() };
    let mut tags = Vec::new();
    let mut rest = text.trim_matches([' ', '\t', ',']);
    loop {
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inner = quoted.strip_prefix('"').ok_or_else(|| malformed(rest))?;
        let (opaque, behind) = inner.split_once('"').ok_or_else(|| malformed(rest))?;
        if opaque.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(malformed(rest));
        }
        if tags.len() == TAG_COUNT_MAX {
            return Err(HeaderFault::TooMany);
        }
        tags.push(ListedTag { opaque: opaque.to_owned(), is_weak });
        let behind = behind.trim_start_matches([' ', '\t']);
        if behind.is_empty() {
            return Ok(tags);
        }
        let next = behind.strip_prefix(',').ok_or_else(|| malformed(behind))?;
        rest = next.trim_start_matches([' ', '\t', ',']);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(if_match: &[&str], if_none_match: &[&str]) -> Result<Preconditions, (&'static str, HeaderFault)> {
        let bytes = |lines: &[&str]| lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>();
        let (matching, none) = (bytes(if_match), bytes(if_none_match));
        Preconditions::parse(matching.iter().map(Vec::as_slice), none.iter().map(Vec::as_slice))
    }

    #[test]
    fn if_match_compares_strongly_with_each_tag_of_the_list() {
        let seven = Tag::revision(7);
        for (line, finds_seven, finds_nothing) in [
            ("\"7\"", true, false),
            ("\"6\"", false, false),
            ("*", true, false),
            (" * ", true, false),
            ("\"6\", \"7\"", true, false),
            ("\"6\",\"7\" ,", true, false),
            (",, \"7\"", true, false),
            ("W/\"7\"", false, false),
            ("W/\"7\", \"7\"", true, false),
            ("\"07\"", false, false),
            ("\"a,b\",\"7\"", true, false),
            ("\"\"", false, false),
            ("\"ä\"", false, false),
        ] {
            let preconditions = read(&[line], &[]).unwrap();
            assert_eq!(preconditions.check(Some(&seven)).is_ok(), finds_seven, "{line}");
            assert_eq!(preconditions.check(None).is_ok(), finds_nothing, "{line}");
        }
        let lines = read(&["\"5\"", "\"7\""], &[]).unwrap();
        assert_eq!(lines.check(Some(&seven)), Ok(()));
        let version = Tag::version(SnapshotVersion { epoch: 1, seq: 17 });
        assert_eq!(
            (read(&["\"1.17\""], &[]).unwrap().check(Some(&version)), version.to_string().as_str()),
            (Ok(()), "\"1.17\"")
        );
    }

    #[test]
    fn if_none_match_compares_weakly_and_its_star_means_that_nothing_is_there() {
        let seven = Tag::revision(7);
        for (line, passes_seven) in [("*", false), ("\"7\"", false), ("W/\"7\"", false), ("\"6\"", true)] {
            let preconditions = read(&[], &[line]).unwrap();
            assert_eq!(preconditions.check(Some(&seven)).is_ok(), passes_seven, "{line}");
            assert_eq!(preconditions.check(None), Ok(()), "{line}");
        }
        let both = read(&["\"7\""], &["*"]).unwrap();
        assert_eq!((both.check(Some(&seven)), both.check(None)), (Err(Unmet::NoneMatch), Err(Unmet::Match)));
        assert_eq!(Preconditions::default().check(Some(&seven)), Ok(()));
    }

    #[test]
    fn a_body_names_the_state_it_was_read_at_unless_a_header_does() {
        let seven = Tag::revision(7);
        let bare = Preconditions::default();
        for (preconditions, revision, finds_seven, finds_nothing) in [
            (bare.clone(), None, Ok(()), Ok(())),
            (bare.clone(), Some(7), Ok(()), Err(Unmet::Read)),
            (bare, Some(6), Err(Unmet::Read), Err(Unmet::Read)),
            (read(&["\"7\""], &[]).unwrap(), Some(6), Ok(()), Err(Unmet::Match)),
            (read(&["*"], &[]).unwrap(), Some(6), Ok(()), Err(Unmet::Match)),
            (read(&[], &["*"]).unwrap(), Some(6), Err(Unmet::NoneMatch), Ok(())),
        ] {
            let preconditions = preconditions.read_at(revision);
            assert_eq!(
                (preconditions.check(Some(&seven)), preconditions.check(None)),
                (finds_seven, finds_nothing),
                "{preconditions:?}"
            );
            assert_eq!(preconditions.of_headers().read_at(None), preconditions.of_headers());
        }
    }

    #[test]
    fn who_has_to_say_which_state_was_seen_is_refused_without_a_word_where_something_is_there() {
        let seven = Tag::revision(7);
        let bare = Preconditions::default().required();
        assert_eq!((bare.check(Some(&seven)), bare.check(None)), (Err(Unmet::Unsaid), Ok(())));
        assert_eq!(bare.read_at(Some(7)).check(Some(&seven)), Ok(()));
        assert_eq!(read(&["\"7\""], &[]).unwrap().required().check(Some(&seven)), Ok(()));
        assert_eq!(read(&["\"6\""], &[]).unwrap().required().check(Some(&seven)), Err(Unmet::Match));
    }

    #[test]
    fn headers_that_mean_nothing_are_refused_from_where_they_do() {
        for (line, found) in [
            ("7", "7"),
            ("", ""),
            (" , ", ""),
            ("\"7", "\"7"),
            ("w/\"7\"", "w/\"7\""),
            ("\"7\" \"8\"", "\"8\""),
            ("\"7\", 8", "8"),
            ("*, \"7\"", "*, \"7\""),
            ("\"7\", *", "*"),
            ("\"a b\"", "\"a b\""),
        ] {
            let fault = HeaderFault::Malformed { found: found.to_owned() };
            assert_eq!(read(&[line], &[]), Err(("if-match", fault.clone())), "{line}");
            assert_eq!(read(&[], &[line]), Err(("if-none-match", fault)), "{line}");
        }
        let many = |count: usize| vec!["\"1\""; count].join(",");
        assert!(read(&[&many(TAG_COUNT_MAX)], &[]).is_ok());
        assert_eq!(read(&[&many(TAG_COUNT_MAX + 1)], &[]), Err(("if-match", HeaderFault::TooMany)));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(bytes: Vec<u8>, near in r#"[W/" ,*0-9]{0,16}"#) {
            for line in [bytes.as_slice(), near.as_bytes()] {
                let _ = Preconditions::parse([line].into_iter(), [].into_iter());
            }
        }
    }
}

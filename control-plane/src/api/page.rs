//! Pages of lists: `?limit=` and `?after=`, and `next` in the answer. A cursor names the last item of a page, so whoever
//! follows cursors sees everything that is there all the time exactly once, whatever comes and goes meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, SnapshotVersion, UnixMillis};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::{ApiError, Code};

/// Items of one page.
pub(super) const LIMIT_MAX: u32 = 1_000;
/// Items of a page of what happened, when nothing is said: the newest are looked at, mostly.
pub(super) const LIMIT_OF_EVENTS: u32 = 100;
/// Bytes of a cursor; the longest key in it has 256.
const CURSOR_LEN_MAX: usize = 512;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Items of a page; 1,000 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(min_length = 1, max_length = 512)]
    after: Option<String>,
}

/// Which page of a list of what happened.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EventPaging {
    /// Items of a page; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(min_length = 1, max_length = 512)]
    after: Option<String>,
}

/// A page: so many items behind a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<P> {
    list: &'static str,
    pub(super) after: Option<P>,
    pub(super) limit: u32,
}

impl Paging {
    pub(super) fn page<P: Place>(&self, list: &'static str) -> Result<Page<P>, ApiError> {
        Page::read(list, self.limit.unwrap_or(LIMIT_MAX), self.after.as_deref())
    }
}

impl EventPaging {
    pub(super) fn page<P: Place>(&self, list: &'static str) -> Result<Page<P>, ApiError> {
        Page::read(list, self.limit.unwrap_or(LIMIT_OF_EVENTS), self.after.as_deref())
    }
}

impl<P: Place> Page<P> {
    /// `list` keeps the cursor of one list from being used in another.
    pub(super) fn read(list: &'static str, limit: u32, after: Option<&str>) -> Result<Self, ApiError> {
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("limit is {limit}, allowed is 1 to {LIMIT_MAX}");
            return Err(ApiError::new(Code::BadQuery, detail));
        }
        let after = after.map(|cursor| read(list, cursor)).transpose()?;
        Ok(Self { list, after, limit })
    }

    /// How many items to look for: one more than a page has tells whether another page follows.
    pub(super) const fn sought(&self) -> u32 {
        self.limit + 1
    }

    /// The page of items that are all here, in the order of their places.
    pub(super) fn of<T>(&self, items: Vec<T>, place: impl Fn(&T) -> P) -> (Vec<T>, Option<String>)
    where
        P: PartialOrd,
    {
        let is_behind = |item: &T| self.after.as_ref().is_none_or(|after| place(item) > *after);
        let items = items.into_iter().filter(is_behind).take(self.limit as usize + 1).collect();
        self.cut(items, place)
    }

    /// The items of the page, and the cursor to what follows: `None` when nothing does.
    pub(super) fn cut<T, Q: Place>(
        &self,
        mut items: Vec<T>,
        place: impl Fn(&T) -> Q,
    ) -> (Vec<T>, Option<String>) {
        let limit = self.limit as usize;
        let is_last = items.len() <= limit;
        items.truncate(limit);
        let next = items.last().filter(|_| !is_last).map(|last| write(self.list, &place(last)));
        (items, next)
    }
}

/// Where an item stands in its list.
pub(super) trait Place: Sized {
    fn to_text(&self) -> String;
    fn parse(text: &str) -> Option<Self>;
}

impl Place for String {
    fn to_text(&self) -> String {
        self.clone()
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Place for i64 {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Place for UnixMillis {
    fn to_text(&self) -> String {
        self.0.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Place for SnapshotVersion {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

macro_rules! keys {
    ($($key:ident,)*) => {
        $(
            impl Place for $key {
                fn to_text(&self) -> String {
                    self.to_string()
                }

                fn parse(text: &str) -> Option<Self> {
                    Self::parse(text).ok()
                }
            }
        )*
    };
}

keys! {
    ProjectKey,
    EnvironmentKey,
}

fn write(list: &str, place: &impl Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{}", place.to_text()))
}

fn read<P: Place>(list: &str, cursor: &str) -> Result<P, ApiError> {
    let bytes = Some(cursor).filter(|cursor| cursor.len() <= CURSOR_LEN_MAX);
    let bytes = bytes.and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.strip_prefix(list)?.strip_prefix(':'));
    place.and_then(P::parse).ok_or_else(|| {
        let detail =
            "after is no cursor of this list: take `next` from the page before, or leave it out for the first";
        ApiError::new(Code::BadCursor, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        let version = SnapshotVersion { epoch: 2, seq: 7 };
        assert_eq!(read("v", &write("v", &version)).ok(), Some(version));
        assert_eq!(read("i", &write("i", &-3_i64)).ok(), Some(-3_i64));
        assert_eq!(read("t", &write("t", &UnixMillis(5))).ok(), Some(UnixMillis(5)));
        assert!(read::<ProjectKey>("p", &write("p", &"no key".to_owned())).is_err());
        let key = "k:/ä".repeat(50);
        assert_eq!(read("flags", &write("flags", &key)).ok(), Some(key.clone()));
        let long = "x".repeat(CURSOR_LEN_MAX);
        for cursor in [write("segments", &key), write("flag", &key), "!".to_owned(), String::new(), long] {
            let refused = read::<String>("flags", &cursor).map_err(|error| error.code());
            assert_eq!(refused, Err(Code::BadCursor), "{cursor}");
        }
        assert!(read::<i64>("i", &write("i", &"x".to_owned())).is_err());
    }

    #[test]
    fn a_page_has_a_limit_and_a_cursor_where_something_follows() {
        let page = |limit| Page::<i64>::read("i", limit, None);
        assert!(page(0).is_err() && page(LIMIT_MAX + 1).is_err());
        assert!(page(1).is_ok() && page(LIMIT_MAX).is_ok());
        let page = page(2).unwrap();
        assert_eq!(page.sought(), 3);
        assert_eq!(page.cut(vec![1_i64, 2], |item| *item), (vec![1, 2], None));
        assert_eq!(page.cut(vec![1_i64, 2, 3], |item| *item), (vec![1, 2], Some(write("i", &2_i64))));
    }
}

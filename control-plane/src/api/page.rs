//! Lists, all in one way: `?limit=` and `?cursor=`, what they are searched for and ordered by, and in the answer `next` and how
//! many there are. A cursor names the last item of a page, so whoever follows cursors sees everything that is there all the
//! time exactly once, whatever comes and goes meanwhile. It is good for the list and the question that it came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, Code};
use crate::store::listing::{Listing, Order, Stand, TOTAL_MAX, holds};

/// Items of one page.
pub(super) const LIMIT_MAX: u32 = 1_000;
/// Items of a page of what happened, when nothing is said: the newest are looked at, mostly.
pub(super) const LIMIT_OF_EVENTS: u32 = 100;
/// Bytes of a cursor; the longest key in it has 256.
const CURSOR_LEN_MAX: usize = 512;
/// Bytes of what is sought.
const Q_LEN_MAX: usize = 256;

/// The last time that a query may name, in milliseconds since 1970: later ones cannot be kept.
const TIME_MS_MAX: u64 = i64::MAX.unsigned_abs();

/// Refuses a time of the query that is after all times.
pub(super) fn check_time(name: &'static str, at: Option<u64>) -> Result<(), ApiError> {
    let Some(at) = at.filter(|at| *at > TIME_MS_MAX) else { return Ok(()) };
    let detail = format!("{name} is {at}, allowed is up to {TIME_MS_MAX}");
    Err(ApiError::of_parameter(Code::BadQuery, name, detail))
}

/// What a list is ordered by; with `-` the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub(super) enum Sort {
    /// By key or name.
    #[serde(rename = "key")]
    Key,
    #[serde(rename = "-key")]
    KeyDown,
    /// By the last change, or when it was made of what never changes.
    #[serde(rename = "changed")]
    Changed,
    #[serde(rename = "-changed")]
    ChangedDown,
}

/// Which page of a list of what has keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Items of a page; 1,000 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// What a key or a name has to hold, whatever the case of its letters.
    #[param(min_length = 1, max_length = 256)]
    q: Option<String>,
    /// The order; by key when absent, of tokens by their age.
    #[param(inline)]
    sort: Option<Sort>,
}

/// Which page of a list of what happened, the newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EventPaging {
    /// Items of a page; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// How many items a list has on all its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ListTotal {
    /// So many, as far as they are counted.
    #[schema(maximum = 1_000)]
    count: u32,
    /// Whether there are more than that: show it as 1000+.
    is_more: bool,
}

impl ListTotal {
    pub(super) fn of(found: u32) -> Self {
        Self { count: found.min(TOTAL_MAX), is_more: found > TOTAL_MAX }
    }
}

/// The items of a page, where the next one begins, and how many there are on all of them.
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
    pub(super) total: ListTotal,
}

/// A page of what has keys.
#[derive(Debug)]
pub(super) struct KeyedPage {
    list: String,
    q: Option<String>,
    order: Order,
    after: Option<Stand>,
    limit: u32,
}

/// A page of what happened: so many items behind a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<P> {
    list: String,
    pub(super) after: Option<P>,
    pub(super) limit: u32,
}

impl Paging {
    /// That of a list with parameters of its own.
    pub(super) const fn of(
        limit: Option<u32>,
        cursor: Option<String>,
        q: Option<String>,
        sort: Option<Sort>,
    ) -> Self {
        Self { limit, cursor, q, sort }
    }

    /// `list` keeps the cursor of one list from being used in another.
    pub(super) fn page(&self, list: &str) -> Result<KeyedPage, ApiError> {
        self.page_by(list, Order::Key)
    }

    /// The same of a list with another order of its own.
    pub(super) fn page_by(&self, list: &str, order: Order) -> Result<KeyedPage, ApiError> {
        self.page_asking(list, order, &[])
    }

    /// The same of a list with filters of its own, whose values are in `asked`, always in one order.
    pub(super) fn page_asking(
        &self,
        list: &str,
        order: Order,
        asked: &[Option<&str>],
    ) -> Result<KeyedPage, ApiError> {
        let limit = checked(self.limit.unwrap_or(LIMIT_MAX), LIMIT_MAX)?;
        if let Some(len) = self.q.as_ref().map(String::len).filter(|len| !(1..=Q_LEN_MAX).contains(len)) {
            let detail = format!("q has {len} bytes, allowed is 1 to {Q_LEN_MAX}");
            return Err(ApiError::of_parameter(Code::BadQuery, "q", detail));
        }
        let order = match self.sort {
            None => order,
            Some(Sort::Key) => Order::Key,
            Some(Sort::KeyDown) => Order::KeyDown,
            Some(Sort::Changed) => Order::Time,
            Some(Sort::ChangedDown) => Order::TimeDown,
        };
        let q = self.q.clone();
        let order_word = format!("{order:?}");
        let asked: Vec<_> =
            [q.as_deref(), Some(order_word.as_str())].into_iter().chain(asked.iter().copied()).collect();
        let list = question(list, &asked);
        let after = self.cursor.as_deref().map(|cursor| read(&list, cursor)).transpose()?;
        Ok(KeyedPage { list, q, order, after, limit })
    }
}

impl EventPaging {
    pub(super) fn page<P: Place>(&self, list: &str) -> Result<Page<P>, ApiError> {
        Page::read(list, &[], self.limit, self.cursor.as_deref())
    }
}

/// How many are asked for, if so many may be.
pub(super) fn checked(limit: u32, max: u32) -> Result<u32, ApiError> {
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("limit is {limit}, allowed is 1 to {max}");
    Err(ApiError::of_parameter(Code::BadQuery, "limit", detail))
}

/// A list with what is asked of it, as its cursors name it.
fn question(list: &str, asked: &[Option<&str>]) -> String {
    if asked.iter().all(Option::is_none) {
        return list.to_owned();
    }
    let words =
        asked.iter().map(|word| word.map_or_else(|| "-".to_owned(), |word| format!("{}+{word}", word.len())));
    let digest = Digest::of(words.collect::<String>().as_bytes()).to_string();
    format!("{list}.{}", digest.get(..16).unwrap_or_default())
}

impl KeyedPage {
    /// What to ask the store for: one row more than a page has tells whether another page follows.
    pub(super) fn listing(&self) -> Listing<'_> {
        let (q, after) = (self.q.as_deref(), self.after.as_ref());
        Listing { q, order: self.order, after, limit: self.limit + 1 }
    }

    /// How many there are on all pages, where so many items that the store found are all of them.
    pub(super) fn total_of(&self, found: usize) -> Option<u32> {
        let is_all = self.after.is_none() && found <= self.limit as usize;
        u32::try_from(found).ok().filter(|_| is_all)
    }

    /// Where an item stands in this order.
    fn place(&self, Stand { at, key }: Stand) -> Stand {
        Stand { at: if self.order.is_by_time() { at } else { UnixMillis(0) }, key }
    }

    /// The page of items that are all here. One is found by what `names` it, its key and maybe a name.
    pub(super) fn of<T>(
        &self,
        items: Vec<T>,
        stand: impl Fn(&T) -> Stand,
        names: impl Fn(&T, &dyn Fn(&str) -> bool) -> bool,
    ) -> Listed<T> {
        let is_found = |item: &T| self.q.as_ref().is_none_or(|q| names(item, &|name| holds(name, q)));
        let mut items: Vec<T> = items.into_iter().filter(is_found).collect();
        let place = |item: &T| self.place(stand(item));
        items.sort_by_cached_key(&place);
        if self.order.is_down() {
            items.reverse();
        }
        let found = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let is_behind = |item: &T| {
            let Some(after) = &self.after else { return true };
            let own = place(item);
            if self.order.is_down() { own < *after } else { own > *after }
        };
        let items = items.into_iter().filter(is_behind).take(self.limit as usize + 1).collect();
        self.cut(items, found, stand)
    }

    /// The items of the page of those that the store found, and of so many on all pages.
    pub(super) fn cut<T>(&self, mut items: Vec<T>, found: u32, stand: impl Fn(&T) -> Stand) -> Listed<T> {
        let is_last = items.len() <= self.limit as usize;
        items.truncate(self.limit as usize);
        let next = items.last().filter(|_| !is_last).map(|last| write(&self.list, &self.place(stand(last))));
        Listed { items, next, total: ListTotal::of(found) }
    }
}

impl<P: Place> Page<P> {
    /// `list` and what is `asked` of it keep the cursor of one question from being used in another.
    pub(super) fn read(
        list: &str,
        asked: &[Option<&str>],
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Self, ApiError> {
        let limit = checked(limit.unwrap_or(LIMIT_OF_EVENTS), LIMIT_MAX)?;
        let list = question(list, asked);
        let after = cursor.map(|cursor| read(&list, cursor)).transpose()?;
        Ok(Self { list, after, limit })
    }

    /// How many items to look for: one more than a page has tells whether another page follows.
    pub(super) const fn sought(&self) -> u32 {
        self.limit + 1
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
        let next = items.last().filter(|_| !is_last).map(|last| write(&self.list, &place(last)));
        (items, next)
    }
}

/// Where an item stands in its list.
pub(super) trait Place: Sized {
    fn to_text(&self) -> String;
    fn parse(text: &str) -> Option<Self>;
}

impl Place for Stand {
    fn to_text(&self) -> String {
        format!("{}:{}", self.at.0, self.key)
    }

    fn parse(text: &str) -> Option<Self> {
        let (at, key) = text.split_once(':')?;
        Some(Self { at: UnixMillis(at.parse().ok()?), key: key.to_owned() })
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

fn write(list: &str, place: &impl Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{}", place.to_text()))
}

fn read<P: Place>(list: &str, cursor: &str) -> Result<P, ApiError> {
    let bytes = Some(cursor).filter(|cursor| cursor.len() <= CURSOR_LEN_MAX);
    let bytes = bytes.and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.strip_prefix(list)?.strip_prefix(':'));
    place.and_then(P::parse).ok_or_else(|| {
        let detail = "cursor is none of this list, or came with other filters or another order: take `next` from the page \
                      before with the same parameters, or leave it out for the first page";
        ApiError::of_parameter(Code::BadCursor, "cursor", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(q: Option<&str>, sort: Option<Sort>, cursor: Option<String>) -> Result<KeyedPage, Code> {
        let paging = Paging { limit: Some(2), cursor, q: q.map(str::to_owned), sort };
        paging.page("flags").map_err(|error| error.code())
    }

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        let version = SnapshotVersion { epoch: 2, seq: 7 };
        assert_eq!(read("v", &write("v", &version)).ok(), Some(version));
        assert_eq!(read("i", &write("i", &-3_i64)).ok(), Some(-3_i64));
        assert_eq!(read("t", &write("t", &UnixMillis(5))).ok(), Some(UnixMillis(5)));
        let stand = |key: String| Stand { at: UnixMillis(7), key };
        let key = "k:/ä".repeat(50);
        assert_eq!(read("flags", &write("flags", &stand(key.clone()))).ok(), Some(stand(key.clone())));
        let long = "x".repeat(CURSOR_LEN_MAX);
        let of = |list: &str| write(list, &stand(key.clone()));
        for cursor in
            [of("segments"), of("flag"), "!".to_owned(), String::new(), long, write("flags", &-1_i64)]
        {
            let refused = read::<Stand>("flags", &cursor).map_err(|error| error.code());
            assert_eq!(refused, Err(Code::BadCursor), "{cursor}");
        }
    }

    #[test]
    fn a_cursor_is_good_for_the_question_that_it_came_from() {
        let items = || vec!["a", "b", "c", "d"];
        let stand = |item: &&str| Stand { at: UnixMillis(1), key: (*item).to_owned() };
        let questions = [
            (None, None),
            (Some("a"), None),
            (None, Some(Sort::KeyDown)),
            (Some("a"), Some(Sort::KeyDown)),
            (None, Some(Sort::Changed)),
        ];
        for (q, sort) in questions {
            let page = keyed(q, sort, None).unwrap();
            let all = |_: &&str, _: &dyn Fn(&str) -> bool| true;
            let cursor = page.of(items(), stand, all).next.unwrap();
            for (other_q, other_sort) in questions {
                let is_same = (q, sort) == (other_q, other_sort);
                let read = keyed(other_q, other_sort, Some(cursor.clone()));
                assert_eq!(read.map(|_| ()), if is_same { Ok(()) } else { Err(Code::BadCursor) });
            }
        }
        assert_ne!(question("l", &[Some("a"), None]), question("l", &[None, Some("a")]));
        assert_ne!(question("l", &[Some("a+1"), Some("b")]), question("l", &[Some("a"), Some("1b")]));
        let read = |asked: &[Option<&str>], cursor: &str| {
            Page::<i64>::read("audit", asked, None, Some(cursor)).is_ok()
        };
        let cursor = write(&question("audit", &[Some("f"), None]), &3_i64);
        assert!(
            read(&[Some("f"), None], &cursor) && !read(&[None, Some("f")], &cursor) && !read(&[], &cursor)
        );
    }

    #[test]
    fn a_page_has_a_limit_and_a_cursor_where_something_follows() {
        let page = |limit| Page::<i64>::read("i", &[], Some(limit), None);
        assert!(page(0).is_err() && page(LIMIT_MAX + 1).is_err());
        assert!(page(1).is_ok() && page(LIMIT_MAX).is_ok());
        let page = page(2).unwrap();
        assert_eq!(page.sought(), 3);
        assert_eq!(page.cut(vec![1_i64, 2], |item| *item), (vec![1, 2], None));
        assert_eq!(page.cut(vec![1_i64, 2, 3], |item| *item), (vec![1, 2], Some(write("i", &2_i64))));
    }

    #[test]
    fn items_in_memory_are_searched_ordered_and_counted_like_rows() {
        let items = || vec![("b", 2), ("a", 3), ("B2", 1), ("c", 3)];
        let stand = |(key, at): &(&str, u64)| Stand { at: UnixMillis(*at), key: (*key).to_owned() };
        let names = |item: &(&str, u64), is_sought: &dyn Fn(&str) -> bool| is_sought(item.0);
        for (q, sort, expected) in [
            (None, None, &["B2", "a", "b", "c"][..]),
            (None, Some(Sort::KeyDown), &["c", "b", "a", "B2"]),
            (None, Some(Sort::Changed), &["B2", "b", "a", "c"]),
            (Some("b"), Some(Sort::ChangedDown), &["b", "B2"]),
            (Some("z"), None, &[]),
        ] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let page = keyed(q, sort, cursor).unwrap().of(items(), stand, names);
                assert_eq!(
                    page.total,
                    ListTotal { count: u32::try_from(expected.len()).unwrap(), is_more: false }
                );
                seen.extend(page.items.into_iter().map(|(key, _)| key));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{q:?} {sort:?}");
        }
        assert_eq!(ListTotal::of(1_000), ListTotal { count: 1_000, is_more: false });
        assert_eq!(ListTotal::of(1_001), ListTotal { count: 1_000, is_more: true });
    }

    #[test]
    fn what_is_sought_has_a_length() {
        for (len, is_sound) in [(0, false), (1, true), (Q_LEN_MAX, true), (Q_LEN_MAX + 1, false)] {
            assert_eq!(keyed(Some(&"x".repeat(len)), None, None).is_ok(), is_sound, "{len}");
        }
    }
}

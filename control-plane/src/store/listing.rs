//! How a list of rows is asked for: what its keys hold, in which order, from where on. One way for all lists, on both
//! databases: letters without accents are compared whatever their case, everything else as it is.

use flagfuse_shared::ids::UnixMillis;

use super::sql::{Query, Row};
use super::{Connection, StoreError, from_sql, sql, to_sql};

/// Rows that are counted; whether there are more is known, and not how many.
pub const TOTAL_MAX: u32 = 1_000;

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Key,
    KeyDown,
    /// Last write, or when it was made of what is never written again.
    Time,
    TimeDown,
}

impl Order {
    /// Whether time goes before the key.
    pub const fn is_by_time(self) -> bool {
        matches!(self, Self::Time | Self::TimeDown)
    }

    /// Whether the last ones come first.
    pub const fn is_down(self) -> bool {
        matches!(self, Self::KeyDown | Self::TimeDown)
    }
}

/// Where a row stands in its list, whatever the order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stand {
    pub at: UnixMillis,
    /// Unlike every other in the list.
    pub key: String,
}

/// Which rows of a list.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'l> {
    /// What a key has to hold.
    pub q: Option<&'l str>,
    pub order: Order,
    /// Those behind this one.
    pub after: Option<&'l Stand>,
    pub limit: u32,
}

impl<'l> Listing<'l> {
    /// All rows by key.
    pub const ALL: Self = Self { q: None, order: Order::Key, after: None, limit: u32::MAX };

    /// The rows behind this one by key, or from the first on.
    pub const fn by_key(after: Option<&'l Stand>, limit: u32) -> Self {
        Self { after, limit, ..Self::ALL }
    }
}

/// Where the rows of a list are.
pub(super) struct Rows<'r> {
    pub(super) columns: &'r str,
    pub(super) table: &'r str,
    /// Which of them are the list's, by the first parameters.
    pub(super) own: &'r str,
    /// How many parameters those are.
    pub(super) own_count: usize,
    /// The column that is unlike in every row of the list.
    pub(super) key: &'r str,
    /// The column of the time.
    pub(super) time: &'r str,
    /// Columns that are searched.
    pub(super) searched: &'r [&'r str],
}

impl Rows<'_> {
    fn found(&self, listing: &Listing<'_>) -> String {
        let Self { table, own, searched, .. } = self;
        let mut sql = format!("FROM {table} WHERE {own}");
        if listing.q.is_some() {
            let number = self.own_count + 1;
            let columns = searched.iter();
            let any = columns.map(|column| format!(r"LOWER({column}) LIKE ${number} ESCAPE '\'"));
            let any = any.collect::<Vec<_>>().join(" OR ");
            sql = format!("{sql} AND ({any})");
        }
        sql
    }

    fn page_sql(&self, listing: &Listing<'_>) -> String {
        let Self { columns, key, time, .. } = self;
        let (order, sign, direction) = match (listing.order, listing.order.is_down()) {
            (order, true) => (order, "<", " DESC"),
            (order, false) => (order, ">", ""),
        };
        let mut next = self.own_count + 1 + usize::from(listing.q.is_some());
        let mut sql = format!("SELECT {columns} {}", self.found(listing));
        if listing.after.is_some() {
            sql = if order.is_by_time() {
                format!("{sql} AND ({time}, {key}) {sign} (${next}, ${})", next + 1)
            } else {
                format!("{sql} AND {key} {sign} ${next}")
            };
            next += if order.is_by_time() { 2 } else { 1 };
        }
        let order = if order.is_by_time() {
            format!("{time}{direction}, {key}{direction}")
        } else {
            format!("{key}{direction}")
        };
        format!("{sql} ORDER BY {order} LIMIT ${next}")
    }

    /// The rows of a page; `bind` binds the first parameters.
    pub(super) async fn page<'v>(
        &self,
        conn: &mut Connection,
        listing: &Listing<'v>,
        bind: impl FnOnce(Query<'v>) -> Query<'v>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut query = bind(sql::composed(self.page_sql(listing)));
        if let Some(q) = listing.q {
            query = query.bind(pattern(q));
        }
        if let Some(after) = listing.after {
            if listing.order.is_by_time() {
                query = query.bind(to_sql(after.at.0));
            }
            query = query.bind(after.key.as_str());
        }
        query.bind(listing.limit).fetch_all(conn).await
    }

    /// How many rows there are on all pages, one more than [`TOTAL_MAX`] at most.
    pub(super) async fn total<'v>(
        &self,
        conn: &mut Connection,
        listing: &Listing<'v>,
        bind: impl FnOnce(Query<'v>) -> Query<'v>,
    ) -> Result<u32, StoreError> {
        let found = self.found(listing);
        let sql = format!("SELECT COUNT(*) FROM (SELECT 1 {found} LIMIT {}) AS found", TOTAL_MAX + 1);
        let mut query = bind(sql::composed(sql));
        if let Some(q) = listing.q {
            query = query.bind(pattern(q));
        }
        Ok(u32::try_from(from_sql(query.fetch_one(conn).await?.get(0)?)).unwrap_or(u32::MAX))
    }
}

/// Whether a key holds what is sought, as the databases compare it.
pub fn holds(key: &str, q: &str) -> bool {
    key.to_ascii_lowercase().contains(&q.to_ascii_lowercase())
}

/// What `LIKE` compares with: nothing in it means anything else than itself.
pub(super) fn pattern(q: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in q.to_ascii_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

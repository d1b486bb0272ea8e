//! `…/notices`: what people and other systems are to hear of, the newest first.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::Params;
use super::page::EventPaging;
use crate::error::ApiError;
use crate::store::notices::{self, NoticeRow};

/// Something to hear of.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
struct Notice {
    /// Rising number.
    notice_id: i64,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    /// Stable word of two parts, like `fuse.open`.
    kind: String,
    /// What it is about, mostly the key of a flag.
    subject: String,
    /// More about it. Its fields depend on the kind.
    body: Value,
    /// When it was delivered; null while it waits.
    #[schema(required, value_type = Option<u64>)]
    delivered_ms: Option<UnixMillis>,
}

impl From<NoticeRow> for Notice {
    fn from(row: NoticeRow) -> Self {
        let NoticeRow { notice_id, at_ms, kind, subject, body, delivered_ms } = row;
        Self { notice_id, at_ms, kind, subject, body, delivered_ms }
    }
}

/// Notices, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoticeList {
    notices: Vec<Notice>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<EventPaging>,
) -> Result<Json<NoticeList>, ApiError> {
    let page = paging.page::<i64>("notices")?;
    let before = page.after.unwrap_or(i64::MAX);
    let rows = notices::page(&mut *state.store.read().await?, at.scope(), before, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.notice_id);
    Ok(Json(NoticeList { notices: rows.into_iter().map(Notice::from).collect(), next }))
}

//! Slots for requests that hold much memory: so many at once, and the others are told to come back.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ApiState;
use super::document::{Draft, Takes};
use crate::error::ApiError;

/// What there are slots for.
pub(super) trait Slots: Send {
    /// What a request is told that finds none.
    const REFUSAL: &'static str;

    fn of(state: &ApiState) -> &Arc<Semaphore>;
}

/// Leave to hold one body or answer in memory, taken before a byte of it is read and held until it is answered.
pub(super) struct Slot<K> {
    _permit: OwnedSemaphorePermit,
    of: PhantomData<K>,
}

impl<K: Slots> FromRequestParts<ApiState> for Slot<K> {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let permit = Arc::clone(K::of(state)).try_acquire_owned();
        permit
            .map(|permit| Self { _permit: permit, of: PhantomData })
            .map_err(|_| ApiError::overloaded(K::REFUSAL))
    }
}

impl<K: Slots> Takes for Slot<K> {
    fn describe(draft: &mut Draft) {
        draft.fails(&[StatusCode::TOO_MANY_REQUESTS]);
    }
}

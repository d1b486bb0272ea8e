//! `POST /v1/otlp/v1/{logs,traces,metrics}`: what OpenTelemetry's exporters send, as events of a server. Answers 200 only when
//! everything is on disk.

mod answer;
mod body;
mod counts;
mod events;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn;
use flagfuse_otlp::{ExportError, Signal, read};
use flagfuse_shared::limits::OTLP_BODY_LEN_MAX;
use tokio::task::spawn_blocking;
use utoipa_axum::router::OpenApiRouter;

use self::answer::Exported;
use self::body::{Exporting, SentExport};
pub(super) use self::counts::Exports;
use super::ApiState;
use super::auth::OfServer;
use super::body::Seen;
use super::document::send;
use super::forward::Passport;
use super::slots::Slot;
use crate::change::ChangeError;
use crate::error::{ApiError, Code};

/// The routes. What fails on them is told in the words of OTLP.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(send("/v1/otlp/v1/logs", logs, "Takes log records of OpenTelemetry"))
        .routes(send("/v1/otlp/v1/traces", traces, "Takes spans of OpenTelemetry"))
        .routes(send("/v1/otlp/v1/metrics", metrics, "Takes data points of OpenTelemetry"))
        .layer(DefaultBodyLimit::max(OTLP_BODY_LEN_MAX))
        .layer(from_fn(answer::in_its_words))
}

macro_rules! handlers {
    ($($name:ident $signal:ident;)*) => {
        $(
            async fn $name(
                server: OfServer,
                State(state): State<ApiState>,
                Seen(seen): Seen,
                slot: Slot<Exporting>,
                passport: Passport,
                sent: SentExport,
            ) -> Result<Exported, ApiError> {
                // Events are named by what they say, which is condition enough: nothing here has a tag.
                seen.check(None).map_err(|unmet| {
                    let key = "of an exporter".to_owned();
                    ChangeError::Precondition { what: "batch", key, unmet, current: None, subject: None }
                })?;
                export(Signal::$signal, &server, &state, &passport, (slot, sent)).await
            }
        )*
    };
}

handlers! {
    logs Logs;
    traces Traces;
    metrics Metrics;
}

async fn export(
    signal: Signal,
    OfServer { scope }: &OfServer,
    state: &ApiState,
    passport: &Passport,
    (slot, sent): (Slot<Exporting>, SentExport),
) -> Result<Exported, ApiError> {
    let encoding = sent.encoding;
    // A large body takes a tenth of a second or two, in which others want to be answered. It keeps its slot meanwhile, also when
    // nobody waits for it any more.
    let turn = state.exports.turn().await;
    let reading = spawn_blocking(move || {
        let _turn = turn;
        let body = sent.decompressed()?;
        let read = read(signal, encoding, &body).map_err(refused)?;
        Ok::<_, ApiError>((slot, read.sdk(), read.into_owned()))
    });
    let (_slot, sdk, export) = reading.await.map_err(|error| ApiError::internal(&error))??;
    let items = export.items;
    let translated = events::translate(state, scope, export).await?;
    let told = events::count(state, scope, (&sdk, &translated.events), passport).await?;
    state.exports.count(scope, signal, &translated.ignored);
    Ok(Exported::new((signal, encoding), items, &translated.refused, &told))
}

fn refused(error: ExportError) -> ApiError {
    let code = match error {
        ExportError::Malformed { .. } => Code::BadBatch,
        ExportError::TooMany => Code::TooLarge,
    };
    ApiError::new(code, error.to_string())
}

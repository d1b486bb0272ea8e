//! One environment's verified snapshot and the answers from it, in texts and numbers. Knows no JavaScript.

use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::{Evaluator, Freshness, Question, evaluate};
use flagfuse_shared::ids::{
    EnvironmentKey, IdError, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis,
};
use flagfuse_shared::limits::REQUEST_BODY_LEN_MAX;
use flagfuse_shared::ofrep::{Origin, RequestError, error_body, write_answer, write_bulk};
use flagfuse_shared::snapshot::verify::TrustError;
use flagfuse_shared::snapshot::{Admitted, Outcome, Refusal, TrustedRoots, verify};

/// A snapshot in use, and who may replace it.
#[derive(Debug)]
pub struct Session {
    roots: TrustedRoots,
    scope: Scope,
    admitted: Admitted,
    origin: Origin,
}

/// What beside flag and context decides an answer.
#[derive(Debug, Clone, Copy)]
pub struct Circumstance {
    /// The time that schedules are compared with.
    pub now: UnixMillis,
    /// Luck, where a flag is left to it.
    pub chance: u64,
    /// Whether the snapshot's freshness is proven.
    pub freshness: Freshness,
}

/// Why a session cannot begin or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// The scope is no `tenant/project/environment`.
    #[error("scope {text:?} is no tenant/project/environment")]
    ScopeShape {
        /// As given.
        text: String,
    },
    /// A part of the scope is no key.
    #[error("scope: {0}")]
    ScopeKey(#[from] IdError),
    /// The root keys cannot be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The frame was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// A first frame was called the same as another: our bug.
    #[error("nothing is held, so nothing can be the same")]
    NothingHeld,
}

impl From<Refusal> for SessionError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Session {
    /// Verifies the first frame.
    pub fn open(
        frame: &[u8],
        root_keys: &[String],
        root_threshold: usize,
        scope: &str,
        now_ms: f64,
    ) -> Result<Self, SessionError> {
        let roots = TrustedRoots::parse(root_keys.iter().map(String::as_str), root_threshold)?;
        let scope = parse_scope(scope)?;
        let Outcome::Newer(admitted) = verify(frame, &roots, &scope, None, millis(now_ms))? else {
            return Err(SessionError::NothingHeld);
        };
        let origin = Origin::new(admitted.held.version, scope.environment.as_str());
        Ok(Self { roots, scope, admitted: *admitted, origin })
    }

    /// Verifies another frame against the held one; true when it is newer and taken.
    pub fn update(&mut self, frame: &[u8], now_ms: f64) -> Result<bool, SessionError> {
        let held = Some(&self.admitted.held);
        match verify(frame, &self.roots, &self.scope, held, millis(now_ms))? {
            Outcome::Same => Ok(false),
            Outcome::Newer(admitted) => {
                self.origin = Origin::new(admitted.held.version, self.scope.environment.as_str());
                self.admitted = *admitted;
                Ok(true)
            }
        }
    }

    /// Version of the snapshot.
    pub const fn version(&self) -> SnapshotVersion {
        self.admitted.held.version
    }

    /// Body of a single evaluation.
    pub fn evaluate(&self, flag_key: &str, context_json: &str, circumstance: Circumstance) -> String {
        let context = match parse_context(context_json) {
            Ok(context) => context,
            Err(error) => return error_body(Some(flag_key), error.code(), &error.to_string()),
        };
        let answer = evaluate(&self.admitted.snapshot, flag_key, question(&context, circumstance));
        let mut body = String::new();
        write_answer(&mut body, flag_key, &answer, &self.origin);
        body
    }

    /// Body of a bulk evaluation.
    pub fn evaluate_all(&self, context_json: &str, circumstance: Circumstance) -> String {
        let context = match parse_context(context_json) {
            Ok(context) => context,
            Err(error) => return error_body(None, error.code(), &error.to_string()),
        };
        let evaluator = Evaluator::new(&self.admitted.snapshot, question(&context, circumstance));
        let mut body = String::new();
        write_bulk(&mut body, evaluator.all(), &self.origin);
        body
    }
}

fn question(context: &Context, circumstance: Circumstance) -> Question<'_> {
    let Circumstance { now, chance, freshness } = circumstance;
    Question { context, now, freshness, chance }
}

/// The same limits and the same words as for a context in a request's body.
fn parse_context(text: &str) -> Result<Context, RequestError> {
    if text.len() > REQUEST_BODY_LEN_MAX {
        return Err(RequestError::TooLong);
    }
    if text.trim().is_empty() {
        return Ok(Context::default());
    }
    let value =
        serde_json::from_str(text).map_err(|error| RequestError::NotJson { detail: error.to_string() })?;
    Ok(Context::from_json(value)?)
}

fn parse_scope(text: &str) -> Result<Scope, SessionError> {
    let mut parts = text.split('/');
    let (Some(tenant), Some(project), Some(environment), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SessionError::ScopeShape { text: text.to_owned() });
    };
    Ok(Scope {
        tenant: TenantKey::parse(tenant)?,
        project: ProjectKey::parse(project)?,
        environment: EnvironmentKey::parse(environment)?,
    })
}

/// JavaScript's time: whole milliseconds in a double. What is no such number is 1970.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, NaN is 0")]
pub fn millis(now_ms: f64) -> UnixMillis {
    UnixMillis(now_ms as u64)
}

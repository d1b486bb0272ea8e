//! One environment's verified snapshot and the answers from it, in texts and numbers. Knows no JavaScript.

use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::{Freshness, Question};
use flagfuse_shared::ids::{
    EnvironmentKey, IdError, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis,
};
use flagfuse_shared::limits::REQUEST_BODY_LEN_MAX;
use flagfuse_shared::ofrep::{Origin, RequestError, error_body, write_answer, write_bulk};
use flagfuse_shared::snapshot::verify::TrustError;
use flagfuse_shared::snapshot::{Admitted, Outcome, Refusal, TrustedRoots, verify};
use flagfuse_shared::strict::{self, Fault};

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
    /// Decides where a flag is random.
    pub random: u64,
    /// Whether the snapshot's freshness is proven.
    pub freshness: Freshness,
}

/// Why a session cannot begin or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// The scope is no `tenant/project/environment`.
    #[error("scope {text:?} is not tenant/project/environment")]
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
        let origin = Origin::new(admitted.held.version, &scope);
        Ok(Self { roots, scope, admitted: *admitted, origin })
    }

    /// Verifies another frame against the held one; true when it is newer and taken.
    pub fn update(&mut self, frame: &[u8], now_ms: f64) -> Result<bool, SessionError> {
        let held = Some(&self.admitted.held);
        match verify(frame, &self.roots, &self.scope, held, millis(now_ms))? {
            Outcome::Same => Ok(false),
            Outcome::Newer(admitted) => {
                self.origin = Origin::new(admitted.held.version, &self.scope);
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
        let answer = self.admitted.snapshot.evaluate(flag_key, question(&context, circumstance));
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
        let evaluator = self.admitted.snapshot.evaluator(question(&context, circumstance));
        let mut body = String::new();
        write_bulk(&mut body, evaluator.all(), &self.origin);
        body
    }
}

fn question(context: &Context, circumstance: Circumstance) -> Question<'_> {
    let Circumstance { now, random, freshness } = circumstance;
    Question { context, now, freshness, random }
}

/// The same limits and the same words as for a context in a request's body.
fn parse_context(text: &str) -> Result<Context, RequestError> {
    if text.len() > REQUEST_BODY_LEN_MAX {
        return Err(RequestError::TooLong);
    }
    if text.trim().is_empty() {
        return Ok(Context::default());
    }
    match strict::parse(text.as_bytes()) {
        Ok(value) => Ok(Context::from_json(value)?),
        Err(Fault::DuplicateKey { detail }) => Err(RequestError::DuplicateKey { detail }),
        Err(fault) => Err(RequestError::NotJson { detail: fault.to_string() }),
    }
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

#[cfg(test)]
mod tests {
    use flagfuse_determinism::signing::{NOW, root_key, scope, sign};
    use flagfuse_shared::definition::SharedWire;
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    const NOW_MS: f64 = NOW.0 as f64;

    fn frame() -> Vec<u8> {
        let flags = json!([{ "key": "f", "value_type": "integer", "default_variation": "a",
            "variations": [{ "key": "a", "value": 1 }] }]);
        sign(serde_json::from_value(flags).unwrap(), SharedWire::default()).unwrap()
    }

    fn open(frame: &[u8], scope: &str) -> Result<Session, SessionError> {
        Session::open(frame, &[root_key()], 1, scope, NOW_MS)
    }

    const ASKED: Circumstance = Circumstance { now: NOW, random: 0, freshness: Freshness::Fresh };

    #[test]
    fn a_verified_frame_answers_in_the_protocols_bodies() {
        let session = open(&frame(), &scope().to_string()).unwrap();
        assert_eq!(session.version().to_string(), "1.1");
        let metadata = json!({ "version": "1.1", "flagSetId": "random/test" });
        let flag =
            json!({ "key": "f", "value": 1, "variant": "a", "reason": "STATIC", "metadata": metadata });
        for context in ["", "{}", " {\"targetingKey\":\"u\"} "] {
            let single: Value = serde_json::from_str(&session.evaluate("f", context, ASKED)).unwrap();
            let bulk: Value = serde_json::from_str(&session.evaluate_all(context, ASKED)).unwrap();
            assert_eq!((&single, &bulk["metadata"]), (&flag, &metadata), "{context}");
            assert_eq!(bulk["flags"], json!([flag]), "{context}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(REQUEST_BODY_LEN_MAX));
        let rows = [
            ("{", "PARSE_ERROR"),
            ("[]", "INVALID_CONTEXT"),
            ("null", "INVALID_CONTEXT"),
            (&long, "GENERAL"),
        ];
        for (context, code) in rows {
            let body: Value = serde_json::from_str(&session.evaluate("f", context, ASKED)).unwrap();
            assert_eq!((&body["errorCode"], &body["key"]), (&json!(code), &json!("f")), "{body}");
        }
    }

    #[test]
    fn nothing_is_opened_that_was_not_signed_for_the_scope() {
        let mut tampered = frame();
        let last = tampered.len() - 2;
        tampered[last] ^= 1;
        let elsewhere = open(&frame(), "default/random/other").unwrap_err().to_string();
        let broken = open(&tampered, &scope().to_string()).unwrap_err().to_string();
        assert!(elsewhere.starts_with("E_SCOPE") && broken.starts_with("E_DIGEST"), "{elsewhere}; {broken}");
        for bad in ["", "a/b", "a/b/c/d", "A/b/c"] {
            assert!(open(&frame(), bad).is_err(), "{bad}");
        }
        assert!(Session::open(&frame(), &[], 1, &scope().to_string(), NOW_MS).is_err());
    }

    #[test]
    fn the_held_frame_is_no_news_and_a_refused_one_changes_nothing() {
        let mut session = open(&frame(), &scope().to_string()).unwrap();
        assert_eq!(session.update(&frame(), NOW_MS), Ok(false));
        let other = sign(Vec::new(), SharedWire::default()).unwrap();
        assert!(session.update(&other, NOW_MS).unwrap_err().to_string().starts_with("E_EQUIV"));
        assert!(session.evaluate("f", "", ASKED).contains("STATIC"));
    }

    #[test]
    fn times_that_are_no_times_are_1970() {
        for (number, expected) in [(1.9, 1), (-5.0, 0), (f64::NAN, 0), (f64::INFINITY, u64::MAX)] {
            assert_eq!(millis(number), UnixMillis(expected), "{number}");
        }
    }
}

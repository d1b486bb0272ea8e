//! The stable codes of failed requests, each with its status: one table. Codes are never renamed.

use axum::http::StatusCode;

macro_rules! codes {
    ($($status:ident { $($code:ident = $word:literal: $meaning:literal,)+ })+) => {
        /// Why a request failed, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is spelt out by its word, and by the sentence that comes with it")]
        pub enum Code {
            $($($code,)+)+
        }

        impl Code {
            /// All of them, by status.
            pub const ALL: &'static [Self] = &[$($(Self::$code,)+)+];

            /// The word in `code`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$code => $word,)+)+
                }
            }

            /// What it means, in a sentence of Markdown without a full stop.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $($(Self::$code => $meaning,)+)+
                }
            }

            /// The status that it comes with.
            pub const fn status(self) -> StatusCode {
                match self {
                    $($(Self::$code)|+ => StatusCode::$status,)+
                }
            }
        }
    };
}

codes! {
    BAD_REQUEST {
        BadBatch = "bad_batch": "a batch of events is none that this control plane reads",
        BadBody = "bad_body": "the body cannot be read",
        BadCursor = "bad_cursor": "`cursor` is none of this list, or of a list with other filters or another order",
        BadHeader = "bad_header": "a header means nothing",
        BadJson = "bad_json": "the body is not JSON",
        BadPath = "bad_path": "a part of the path cannot be read",
        BadPull = "bad_pull": "a replica asks for what it cannot hold",
        BadQuery = "bad_query": "a parameter is unknown, repeated, or not what it has to be",
        BadSchema = "bad_schema": "the body does not have its shape: a field is unknown, missing, or something else than it has to be",
        BadVersion = "bad_version": "what has to be a version is none",
        CohortIsManaged = "cohort_is_managed": "the cohort of a flag is its fuse's",
        DuplicateKey = "duplicate_key": "an object in the body has a key twice",
        InvalidAccount = "invalid_account": "the name of an account or a new password is none",
        InvalidBaseline = "invalid_baseline": "the baseline is outside its limits",
        InvalidContext = "invalid_context": "the context cannot be evaluated with",
        InvalidContract = "invalid_contract": "the contract is outside its limits",
        InvalidFlag = "invalid_flag": "the flag cannot be evaluated",
        InvalidFlagDetails = "invalid_flag_details": "the details of a flag are outside their limits",
        InvalidHoldout = "invalid_holdout": "the holdout has no meaning",
        InvalidImport = "invalid_import": "the document to import cannot be read",
        InvalidLayer = "invalid_layer": "the layer has no meaning",
        InvalidPolicy = "invalid_policy": "the policy is outside its limits or does not fit the flag",
        InvalidSegment = "invalid_segment": "the segment cannot be evaluated",
        InvalidSlo = "invalid_slo": "the SLO is outside its limits",
        InvalidStages = "invalid_stages": "a stage names a region that nothing is pushed to",
        ModeNotAvailable = "mode_not_available": "a policy names a mode that does not exist",
        SettingsIncomplete = "settings_incomplete": "`PUT` of settings leaves some out",
        SnapshotLimit = "snapshot_limit": "the snapshot would be outside its limits",
        TooLong = "too_long": "a text of people is too long",
    }
    UNAUTHORIZED {
        SignInFailed = "sign_in_failed": "name and password, or the code of a sign-in link, let nobody in",
        Unauthorized = "unauthorized": "there is neither token nor session, or it is unknown, revoked or over",
    }
    FORBIDDEN {
        CrossOrigin = "cross_origin": "a page of another origin may not use a session or make one",
        Forbidden = "forbidden": "the caller is known, and may not do this there",
        WrongTenant = "wrong_tenant": "the request names another tenant than its token's",
    }
    NOT_FOUND {
        EdgeOnly = "edge_only": "this is answered by the edge",
        NoSnapshot = "no_snapshot": "nothing was published yet",
        UnknownAction = "unknown_action": "there is no such switch or step",
        UnknownBaseline = "unknown_baseline": "the flag has no baseline, or none of that version",
        UnknownContract = "unknown_contract": "the flag has no contract, or none of that version",
        UnknownEnvironment = "unknown_environment": "the tenant has no such environment",
        UnknownFlag = "unknown_flag": "there is no such flag",
        UnknownFlagDetails = "unknown_flag_details": "nothing is said of the flag",
        UnknownFuse = "unknown_fuse": "the flag has no fuse",
        UnknownHoldout = "unknown_holdout": "the environment has no holdout",
        UnknownLayer = "unknown_layer": "there is no such layer",
        UnknownMember = "unknown_member": "there is no such member",
        UnknownOverride = "unknown_override": "the environment changes nothing of the flag",
        UnknownPath = "unknown_path": "there is no such path",
        UnknownPhase = "unknown_phase": "the fuse has no such phase",
        UnknownProject = "unknown_project": "the tenant has no such project",
        UnknownReplica = "unknown_replica": "there is no such replica",
        UnknownSegment = "unknown_segment": "there is no such segment",
        UnknownSession = "unknown_session": "there is no such session, or it has ended",
        UnknownSlo = "unknown_slo": "there is no such SLO",
        UnknownSuppression = "unknown_suppression": "there is no such window",
        UnknownToken = "unknown_token": "there is no such token, or it is revoked",
        UnknownTrip = "unknown_trip": "the flag has no trip of that number",
        UnknownVersion = "unknown_version": "there is no such version",
        VersionNotKept = "version_not_kept": "the version to go back to is not kept any more; `kept` lists those that are",
    }
    METHOD_NOT_ALLOWED {
        MethodNotAllowed = "method_not_allowed": "the path has no such method; `Allow` lists those that it has",
    }
    REQUEST_TIMEOUT {
        SlowBody = "slow_body": "the body took too long",
    }
    CONFLICT {
        ConfirmationNeeded = "confirmation_needed": "the change alters or takes away much: repeat it with `confirmation`",
        AlreadyDone = "already_done": "a request with this `Idempotency-Key` was done, and its answer is not kept",
        EdgeTooOld = "edge_too_old": "an edge that is connected cannot read what would be published",
        Exists = "exists": "there is one of that key already",
        FlagIsOff = "flag_is_off": "the body leaves out `enabled`, which would switch the flag on",
        FuseInUse = "fuse_in_use": "a fuse would go with its flag",
        FuseNotClosed = "fuse_not_closed": "the fuse keeps this from being done",
        HeldByFuse = "held_by_fuse": "a fuse watches the flag, so this field stays as it is",
        InUse = "in_use": "others would become malformed",
        Inherited = "inherited": "the flag is its project's",
        LastOwner = "last_owner": "the tenant would belong to nobody",
        NoNextStage = "no_next_stage": "the ramp has no further stage",
        NotMeasurable = "not_measurable": "a validation could never come to an end",
        RequestInProgress = "request_in_progress": "a request with this `Idempotency-Key` is being answered: come back in a second",
        RestoredFromOldCopy = "restored_from_old_copy": "the database is behind its replicas",
        RolloutDecided = "rollout_decided": "the roll-out is decided otherwise; `rollout` and `circuit` say how",
        SharedSalt = "shared_salt": "two flags with one salt cannot both be watched",
        SnapshotRefused = "snapshot_refused": "the newest snapshot would not be taken by an edge",
        StaleRevision = "stale_revision": "somebody else moved the fuse meanwhile, again and again",
        TooMany = "too_many": "the environment has as many of these as it may",
        TooManyEnvironments = "too_many_environments": "the tenant has as many environments as it may",
    }
    PRECONDITION_FAILED {
        PreconditionFailed = "precondition_failed": "another state is there than the one that was seen; `etag` and `current` say which",
    }
    PRECONDITION_REQUIRED {
        PreconditionRequired = "precondition_required": "a person has to say with `If-Match` which state was seen; `etag` and `current` say which is there",
    }
    PAYLOAD_TOO_LARGE {
        TooLarge = "too_large": "the body is above its limit",
    }
    UNSUPPORTED_MEDIA_TYPE {
        BadContentType = "bad_content_type": "the content type is one that is not taken",
    }
    UNPROCESSABLE_ENTITY {
        IdempotencyKeyReused = "idempotency_key_reused": "another request came with this `Idempotency-Key`",
    }
    TOO_MANY_REQUESTS {
        Overloaded = "overloaded": "too much is asked at once: come back in a second",
        RateLimited = "rate_limited": "the token has asked too often: `Retry-After` says when to come back",
        TooManyFailures = "too_many_failures": "too many tokens from this address opened nothing",
        TooManyKeys = "too_many_keys": "as many `Idempotency-Key`s are kept for the tenant as may be: leave it out, or come back later",
    }
    INTERNAL_SERVER_ERROR {
        Internal = "internal": "the control plane failed",
    }
    SERVICE_UNAVAILABLE {
        EventsMoving = "events_moving": "another control plane counts these events, or they are being handed over",
        KeysChanging = "keys_changing": "the keyset changed a moment ago",
    }
}

impl Code {
    /// All codes for people, as a table of Markdown: what docs/api.md has.
    pub fn table() -> String {
        let rows = Self::ALL.iter().map(|code| {
            format!("| `{}` | {} | {} |\n", code.as_str(), code.status().as_u16(), code.meaning())
        });
        rows.fold("| code | status | when |\n|---|---|---|\n".to_owned(), |table, row| table + &row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_codes_share_a_word_and_each_has_a_status_of_a_failure() {
        let words: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            let status = code.status();
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}");
            assert!(!code.meaning().is_empty() && !code.meaning().ends_with('.'), "{code:?}");
            assert!(code.as_str().bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{code:?}");
        }
    }
}

//! The stable codes of failed requests, each with its status: one table. Codes are never renamed.

use axum::http::StatusCode;

macro_rules! codes {
    ($($status:ident { $($code:ident = $word:literal,)+ })+) => {
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
        BadBatch = "bad_batch",
        BadBody = "bad_body",
        BadCursor = "bad_cursor",
        BadHeader = "bad_header",
        BadJson = "bad_json",
        BadPath = "bad_path",
        BadPull = "bad_pull",
        BadQuery = "bad_query",
        BadSchema = "bad_schema",
        BadVersion = "bad_version",
        CohortIsManaged = "cohort_is_managed",
        DuplicateKey = "duplicate_key",
        InvalidAccount = "invalid_account",
        InvalidBaseline = "invalid_baseline",
        InvalidContext = "invalid_context",
        InvalidContract = "invalid_contract",
        InvalidFlag = "invalid_flag",
        InvalidHoldout = "invalid_holdout",
        InvalidImport = "invalid_import",
        InvalidLayer = "invalid_layer",
        InvalidPolicy = "invalid_policy",
        InvalidSegment = "invalid_segment",
        InvalidSlo = "invalid_slo",
        InvalidStages = "invalid_stages",
        ModeNotAvailable = "mode_not_available",
        SettingsIncomplete = "settings_incomplete",
        SnapshotLimit = "snapshot_limit",
        TooLong = "too_long",
    }
    UNAUTHORIZED {
        SignInFailed = "sign_in_failed",
        Unauthorized = "unauthorized",
    }
    FORBIDDEN {
        CrossOrigin = "cross_origin",
        Forbidden = "forbidden",
        WrongTenant = "wrong_tenant",
    }
    NOT_FOUND {
        EdgeOnly = "edge_only",
        NoSnapshot = "no_snapshot",
        UnknownAction = "unknown_action",
        UnknownBaseline = "unknown_baseline",
        UnknownContract = "unknown_contract",
        UnknownEnvironment = "unknown_environment",
        UnknownFlag = "unknown_flag",
        UnknownFuse = "unknown_fuse",
        UnknownHoldout = "unknown_holdout",
        UnknownLayer = "unknown_layer",
        UnknownMember = "unknown_member",
        UnknownOverride = "unknown_override",
        UnknownPath = "unknown_path",
        UnknownPhase = "unknown_phase",
        UnknownProject = "unknown_project",
        UnknownReplica = "unknown_replica",
        UnknownSegment = "unknown_segment",
        UnknownSession = "unknown_session",
        UnknownSlo = "unknown_slo",
        UnknownSuppression = "unknown_suppression",
        UnknownToken = "unknown_token",
        UnknownVersion = "unknown_version",
        VersionNotKept = "version_not_kept",
    }
    METHOD_NOT_ALLOWED {
        MethodNotAllowed = "method_not_allowed",
    }
    REQUEST_TIMEOUT {
        SlowBody = "slow_body",
    }
    CONFLICT {
        ConfirmationNeeded = "confirmation_needed",
        EdgeTooOld = "edge_too_old",
        Exists = "exists",
        FlagIsOff = "flag_is_off",
        FuseInUse = "fuse_in_use",
        FuseNotClosed = "fuse_not_closed",
        HeldByFuse = "held_by_fuse",
        InUse = "in_use",
        LastOwner = "last_owner",
        Inherited = "inherited",
        NoNextStage = "no_next_stage",
        NotMeasurable = "not_measurable",
        RestoredFromOldCopy = "restored_from_old_copy",
        RolloutDecided = "rollout_decided",
        SharedSalt = "shared_salt",
        SnapshotRefused = "snapshot_refused",
        StaleRevision = "stale_revision",
        TooMany = "too_many",
        TooManyEnvironments = "too_many_environments",
    }
    PRECONDITION_FAILED {
        PreconditionFailed = "precondition_failed",
    }
    PAYLOAD_TOO_LARGE {
        TooLarge = "too_large",
    }
    UNSUPPORTED_MEDIA_TYPE {
        BadContentType = "bad_content_type",
    }
    TOO_MANY_REQUESTS {
        Overloaded = "overloaded",
        TooManyFailures = "too_many_failures",
    }
    INTERNAL_SERVER_ERROR {
        Internal = "internal",
    }
    SERVICE_UNAVAILABLE {
        EventsMoving = "events_moving",
        KeysChanging = "keys_changing",
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
            assert!(code.as_str().bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{code:?}");
        }
    }
}

//! Every refusal and its sentence.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::change::testing::{CHANGE_ERROR_COUNT, change_error_number as number, scope};
use crate::model::contract::Contract;

fn key() -> String {
    "k".to_owned()
}

fn of_names() -> Vec<(ChangeError, &'static str)> {
    let project = ProjectKey::parse("p").unwrap();
    let unknown = |what| ChangeError::Unknown { what, key: key() };
    vec![
        (ChangeError::UnknownProject { project }, "project p does not exist"),
        (ChangeError::UnknownEnvironment { scope: scope() }, "environment p/e does not exist"),
        (unknown(Resource::Flag), "flag \"k\" does not exist: PUT …/flags/FLAG makes it"),
        (unknown(Resource::ProjectFlag), "project flag \"k\" does not exist: PUT /v1/projects/PROJECT/"),
        (unknown(Resource::Holdout), "holdout \"k\" does not exist"),
        (ChangeError::Overtaken, "another attempt at this request has taken over: "),
        (ChangeError::LastOwner, "this is the last owner of the tenant: "),
        (ChangeError::NotAllowed { detail: "no".to_owned() }, "no"),
        (ChangeError::SignIn, "name and password, or the sign-in link, are not valid"),
        (ChangeError::Exists { what: Resource::Project, key: key() }, "project \"k\" exists already"),
        (
            ChangeError::TooManyEnvironments { count: 9, deleted: 2 },
            "the tenant has 9 environments, 2 of them deleted",
        ),
        (
            ChangeError::TooMany { what: Resource::Suppression, count_max: 9 },
            "there are 9 of suppression already, which is the limit",
        ),
        (ChangeError::Inherited { flag: key() }, "flag \"k\" is inherited from the project: "),
        (ChangeError::NotInVersion { flag: key(), version: version() }, "flag \"k\" is not in version 1.7"),
        (
            ChangeError::NotInHistory {
                version: version(),
                available: vec!["1.9".to_owned(), "1.8".to_owned()],
            },
            "version 1.7 is not kept; there are: 1.9, 1.8",
        ),
    ]
}

const fn version() -> SnapshotVersion {
    SnapshotVersion { epoch: 1, seq: 7 }
}

fn of_shapes() -> Vec<(ChangeError, &'static str)> {
    let source = FlagFault::UnknownLayer { layer: "l".to_owned() };
    let fault = || SegmentFault::OutOfRange { field: "key", found: "x".to_owned(), allowed: "y".to_owned() };
    let too_many = EnvironmentFault::TooMany {
        what: flagfuse_shared::environment::SharedField::Layers,
        count: 3,
        count_max: 2,
    };
    let unreadable = PayloadError::Format { found: 9, expected: 4 };
    vec![
        (ChangeError::Flag { key: key(), source }, "flag \"k\": layer"),
        (ChangeError::FlagShape { detail: "enabled is 5".to_owned() }, "enabled is 5"),
        (ChangeError::Segment { key: key(), source: fault() }, "segment \"k\": key is x, allowed is y"),
        (ChangeError::Environment(too_many), "layers has 3 entries, the limit is 2"),
        (
            ChangeError::InUse {
                what: Resource::Segment,
                key: key(),
                by: "flag \"f\"".to_owned(),
                fault: "y".to_owned(),
            },
            "segment \"k\" is in use: with this change flag \"f\" could not be evaluated: y",
        ),
        (ChangeError::Policy(PolicyFault::Mode { found: "m".to_owned() }), "mode \"m\" is not available"),
        (
            ChangeError::Unreadable { version: version(), source: unreadable },
            "version 1.7 cannot be read: payload format is 9",
        ),
        (ChangeError::TooLong { field: "name", len: 9, len_max: 8 }, "name has 9 bytes, the limit is 8"),
        (
            ChangeError::Outbox(OutboxError::UnknownEnvironment { scope: scope() }),
            "environment p/e does not exist",
        ),
        (
            ChangeError::Diff(DiffError::Refused("x".to_owned())),
            "the change cannot be compared with what was there before: a rehearsed snapshot is refused: x",
        ),
        (ChangeError::Store(StoreError::Busy), ""),
    ]
}

fn of_fuses() -> Vec<(ChangeError, &'static str)> {
    let environment = || EnvironmentKey::parse("e").unwrap();
    let fuses = vec![(environment(), Circuit::Open), (EnvironmentKey::parse("x").unwrap(), Circuit::Closed)];
    let source = Box::new(ChangeError::CohortIsManaged);
    vec![
        (ChangeError::CohortIsManaged, "cohort is managed by the flag's fuse"),
        (
            ChangeError::LockedByFuse { field: "salt", flag: key() },
            "salt cannot change like that while a fuse watches the flag \"k\"",
        ),
        (ChangeError::IsOff { flag: key() }, "flag \"k\" is off, and the body leaves out enabled"),
        (
            ChangeError::FuseInUse { flag: key(), fuses },
            "flag \"k\" is under a fuse in e (OPEN), x (CLOSED): ",
        ),
        (
            ChangeError::SharedSalt { flag: key(), other: "o".to_owned(), salt: "s".to_owned() },
            "the flags \"k\" and \"o\" have the same salt, \"s\"",
        ),
        (
            ChangeError::Tripped { what: "x".to_owned(), circuit: Circuit::Open, remedy: "close it" },
            "x while the fuse is OPEN: close it",
        ),
        (ChangeError::NoNextStage { flag: key() }, "the fuse of flag \"k\" has no next stage"),
        (
            ChangeError::InEnvironment { environment: environment(), source },
            "environment e: cohort is managed",
        ),
        (ChangeError::NotMeasurable { why: "x".to_owned() }, "the contract cannot be validated: x"),
        (
            ChangeError::Contract(Contract::parse(&json!({ "window_s": 1, "max_p95_ms": 5 })).unwrap_err()),
            "window_s is 1, allowed is 60 to",
        ),
        (ChangeError::Stale { found: 8, expected: 7 }, "fuse is at revision 8, the change was made for 7"),
    ]
}

fn of_consent() -> Vec<(ChangeError, &'static str)> {
    let confirmation = Digest::of(b"x");
    let above = |given| ChangeError::ConfirmationNeeded {
        above: Box::new(Above { flag: key(), environment: "e".to_owned(), changed_pct: 12.34, limit_pct: 5 }),
        given,
        confirmation,
        diffs: Vec::new(),
    };
    let (what, summary) = (Resource::Project, "2 flags".to_owned());
    let loss = Box::new(Lost { what, key: key(), summary, numbers: json!({}) });
    vec![
        (
            above(Given::Nothing),
            "the change alters 12.3 % of the sampled decisions of flag \"k\" in environment e",
        ),
        (above(Given::Other), "the confirmation is for another change, or the environment has moved"),
        (
            ChangeError::LossToConfirm { loss, given: Given::Nothing, confirmation },
            "deleting the project \"k\" takes away 2 flags: ",
        ),
    ]
}

fn of_preconditions() -> Vec<(ChangeError, &'static str)> {
    let unmet = |unmet, current: Option<u64>| ChangeError::Precondition {
        what: "flag",
        key: key(),
        unmet,
        current: current.map(Tag::revision),
        subject: None,
    };
    vec![
        (unmet(Unmet::Match, Some(7)), "flag \"k\" is at \"7\", which if-match does not list"),
        (unmet(Unmet::Match, None), "flag \"k\" is not there, and if-match asks for one that is"),
        (unmet(Unmet::NoneMatch, Some(7)), "flag \"k\" is at \"7\", which if-none-match rules out"),
        (unmet(Unmet::NoneMatch, None), "flag \"k\" is not there, which if-none-match rules out"),
        (unmet(Unmet::Read, Some(7)), "flag \"k\" is at \"7\", and `revision` in the body says"),
        (unmet(Unmet::Unsaid, Some(7)), "flag \"k\" is at \"7\", and the request does not say which state"),
        (unmet(Unmet::Unsaid, None), "flag \"k\" is not there, and the request does not say so"),
        (unmet(Unmet::Read, None), "flag \"k\" is not there, and `revision` in the body says"),
    ]
}

fn of_imports() -> Vec<(ChangeError, &'static str)> {
    let conflict = |name: &str, reason| Conflict { name: name.to_owned(), reason };
    let exists = |name: &str| conflict(name, ChangeError::Exists { what: Resource::Flag, key: key() });
    let conflicts =
        vec![exists("flag a"), conflict("flag b", ChangeError::CohortIsManaged), exists("flag c")];
    let words = "already there: flag a, flag c; with `replace` they are replaced; flag b: cohort is managed";
    vec![(ChangeError::Conflicts { conflicts }, words)]
}

#[test]
fn every_refusal_says_what_it_is_about() {
    let tables = [of_names(), of_shapes(), of_fuses(), of_consent(), of_preconditions(), of_imports()];
    let mut found = BTreeSet::new();
    for (error, words) in tables.into_iter().flatten() {
        let sentence = error.to_string();
        assert!(sentence.starts_with(words) && !sentence.is_empty(), "{sentence}");
        found.insert(number(&error));
    }
    assert_eq!(found, (0..CHANGE_ERROR_COUNT).collect(), "a variant has no row");
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let keys = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    assert!(listed(&keys(LISTED_COUNT_MAX)).ends_with(", 49"));
    assert!(listed(&keys(LISTED_COUNT_MAX + 2)).ends_with(", 49 and 2 more"));
    assert_eq!(listed(&[]), "");
}

//! Every error of the floors below, and the code that a request is told for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use flagfuse_inspect::diff::DiffError;
use flagfuse_shared::condition::SegmentFault;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey};
use flagfuse_shared::snapshot::payload::PayloadError;
use serde_json::json;

use super::*;
use crate::change::testing::{CHANGE_ERROR_COUNT, change_error_number as number};
use crate::change::{Above, Given, Lost, Unmet};
use crate::model::circuit::Circuit;
use crate::model::contract::{Baseline, Contract};
use crate::model::fleet::ReplicaName;
use crate::model::rights::Place;
use crate::publish::edges::{EdgeReader, EdgeTooOld};

fn key() -> String {
    "k".to_owned()
}

fn scope() -> Scope {
    Scope::parse("t/p/e").unwrap()
}

const VERSION: SnapshotVersion = SnapshotVersion { epoch: 1, seq: 7 };

/// 400 and 404.
fn of_requests() -> Vec<(ChangeError, Code)> {
    let unknown = |what| ChangeError::Unknown { what, key: key() };
    let flag = FlagFault::UnknownLayer { layer: key() };
    let segment = SegmentFault::OutOfRange { field: "key", found: key(), allowed: key() };
    let too_many =
        |what| ChangeError::Environment(EnvironmentFault::TooMany { what, count: 3, count_max: 2 });
    let mode = PolicyFault::Mode { found: key() };
    let variation = PolicyFault::UnknownVariation { field: "control_variation", variation: key() };
    vec![
        (ChangeError::UnknownProject { project: ProjectKey::parse("p").unwrap() }, Code::UnknownProject),
        (ChangeError::UnknownEnvironment { scope: scope() }, Code::UnknownEnvironment),
        (unknown(Resource::Project), Code::UnknownProject),
        (unknown(Resource::Environment), Code::UnknownEnvironment),
        (unknown(Resource::Settings), Code::UnknownEnvironment),
        (unknown(Resource::Flag), Code::UnknownFlag),
        (unknown(Resource::ProjectFlag), Code::UnknownFlag),
        (unknown(Resource::FlagDetails), Code::UnknownFlagDetails),
        (unknown(Resource::Override), Code::UnknownOverride),
        (unknown(Resource::Fuse), Code::UnknownFuse),
        (unknown(Resource::Segment), Code::UnknownSegment),
        (unknown(Resource::Layer), Code::UnknownLayer),
        (unknown(Resource::Holdout), Code::UnknownHoldout),
        (unknown(Resource::Token), Code::UnknownToken),
        (unknown(Resource::Member), Code::UnknownMember),
        (unknown(Resource::Session), Code::UnknownSession),
        (ChangeError::NotAllowed { detail: key() }, Code::Forbidden),
        (ChangeError::SignIn, Code::SignInFailed),
        (ChangeError::NotInVersion { flag: key(), version: VERSION }, Code::UnknownFlag),
        (ChangeError::NotInHistory { version: VERSION, available: Vec::new() }, Code::VersionNotKept),
        (ChangeError::Flag { key: key(), source: flag }, Code::InvalidFlag),
        (ChangeError::FlagShape { detail: key() }, Code::InvalidFlag),
        (ChangeError::Segment { key: key(), source: segment }, Code::InvalidSegment),
        (too_many(SharedField::Segments), Code::InvalidSegment),
        (too_many(SharedField::Layers), Code::InvalidLayer),
        (too_many(SharedField::Holdout), Code::InvalidHoldout),
        (ChangeError::Policy(mode), Code::ModeNotAvailable),
        (ChangeError::Policy(variation), Code::InvalidPolicy),
        (unknown(Resource::Contract), Code::UnknownContract),
        (unknown(Resource::Baseline), Code::UnknownBaseline),
        (ChangeError::Contract(Contract::parse(&json!({})).unwrap_err()), Code::InvalidContract),
        (ChangeError::Contract(Baseline::parse(&json!({})).unwrap_err()), Code::InvalidBaseline),
        (ChangeError::CohortIsManaged, Code::CohortIsManaged),
        (ChangeError::TooLong { field: "name", len: 9, len_max: 8 }, Code::TooLong),
    ]
}

/// 409 and 412.
fn of_states() -> Vec<(ChangeError, Code)> {
    let used = ChangeError::InUse { what: Resource::Segment, key: key(), by: key(), fault: key() };
    let environment = EnvironmentKey::parse("e").unwrap();
    let inside = ChangeError::InEnvironment { environment, source: Box::new(ChangeError::CohortIsManaged) };
    let tripped = ChangeError::Tripped { what: key(), circuit: Circuit::Open, remedy: "close it" };
    let unmet =
        |unmet| ChangeError::Precondition { what: "flag", key: key(), unmet, current: None, subject: None };
    let conflict = |reason| ChangeError::Conflicts { conflicts: vec![Conflict { name: key(), reason }] };
    vec![
        (ChangeError::NotMeasurable { why: key() }, Code::NotMeasurable),
        (ChangeError::LastOwner, Code::LastOwner),
        (ChangeError::Exists { what: Resource::Project, key: key() }, Code::Exists),
        (ChangeError::TooManyEnvironments { count: 9, deleted: 2 }, Code::TooManyEnvironments),
        (ChangeError::TooMany { what: Resource::Slo, count_max: 9 }, Code::TooMany),
        (conflict(ChangeError::Exists { what: Resource::Flag, key: key() }), Code::Exists),
        (conflict(ChangeError::CohortIsManaged), Code::CohortIsManaged),
        (used, Code::InUse),
        (ChangeError::LockedByFuse { field: "salt", flag: key() }, Code::HeldByFuse),
        (ChangeError::IsOff { flag: key() }, Code::FlagIsOff),
        (ChangeError::FuseInUse { flag: key(), fuses: Vec::new() }, Code::FuseInUse),
        (ChangeError::SharedSalt { flag: key(), other: key(), salt: key() }, Code::SharedSalt),
        (tripped, Code::FuseNotClosed),
        (ChangeError::NoNextStage { flag: key() }, Code::NoNextStage),
        (ChangeError::Inherited { flag: key() }, Code::Inherited),
        (inside, Code::CohortIsManaged),
        (unmet(Unmet::Match), Code::PreconditionFailed),
        (unmet(Unmet::Unsaid), Code::PreconditionRequired),
        (ChangeError::Stale { found: 8, expected: 7 }, Code::StaleRevision),
        (ChangeError::Overtaken, Code::RequestInProgress),
    ]
}

/// What a person has to confirm, and what the floors below say.
fn of_the_rest() -> Vec<(ChangeError, Code)> {
    let above = Above { flag: key(), environment: key(), changed_pct: 12.0, limit_pct: 5 };
    let lost = Lost { what: Resource::Project, key: key(), summary: key(), numbers: json!({}) };
    let (given, confirmation) = (Given::Nothing, Digest::of(b"x"));
    let needed =
        ChangeError::ConfirmationNeeded { above: Box::new(above), given, confirmation, diffs: Vec::new() };
    let unreadable = PayloadError::Format { found: 9, expected: 4 };
    vec![
        (needed, Code::ConfirmationNeeded),
        (ChangeError::LossToConfirm { loss: Box::new(lost), given, confirmation }, Code::ConfirmationNeeded),
        (ChangeError::Unreadable { version: VERSION, source: unreadable }, Code::Internal),
        (ChangeError::Outbox(OutboxError::UnknownEnvironment { scope: scope() }), Code::UnknownEnvironment),
        (ChangeError::Diff(DiffError::Refused(key())), Code::Internal),
        (ChangeError::Store(StoreError::Busy), Code::Overloaded),
    ]
}

#[test]
fn every_refusal_of_a_change_has_its_code() {
    let mut found = BTreeSet::new();
    for (error, code) in of_requests().into_iter().chain(of_states()).chain(of_the_rest()) {
        let (number, words) = (number(&error), error.to_string());
        let told = ApiError::from(error);
        assert_eq!(told.code(), code, "{words}");
        assert!(code == Code::Internal || told.detail == words, "{words}: {}", told.detail);
        found.insert(number);
    }
    assert_eq!(found, (0..CHANGE_ERROR_COUNT).collect(), "a variant has no row");
}

#[test]
fn every_error_of_the_store_the_outbox_and_the_keys_has_its_code() {
    let sql = || sqlx_error();
    let path = || PathBuf::from("p");
    let signer = KeyError::NoSigner { keyset_version: 1, role: "release", needed: 1, found: 0, path: path() };
    for (error, code) in [
        (ApiError::from(StoreError::Busy), Code::Overloaded),
        (StoreError::Lost(sql()).into(), Code::Overloaded),
        (StoreError::Sql(sql()).into(), Code::Internal),
        (StoreError::Open { path: key(), why: key() }.into(), Code::Internal),
        (
            StoreError::Refused { database: key(), refusal: crate::store::Refusal::NoDatabase }.into(),
            Code::Internal,
        ),
        (StoreError::OldSqlite { found: key() }.into(), Code::Internal),
        (StoreError::Newer { found: 9, known: 8 }.into(), Code::Internal),
        (StoreError::Corrupt { column: "c", found: key() }.into(), Code::Internal),
        (OutboxError::Store(StoreError::Busy).into(), Code::Overloaded),
        (OutboxError::Reserve { len: 9, len_max: 8 }.into(), Code::SnapshotLimit),
        (OutboxError::Forked { scope: scope(), forks: Vec::new() }.into(), Code::RestoredFromOldCopy),
        (OutboxError::EdgeTooOld(too_old()).into(), Code::EdgeTooOld),
        (OutboxError::UnknownEnvironment { scope: scope() }.into(), Code::UnknownEnvironment),
        (OutboxError::Keys(signer).into(), Code::KeysChanging),
        (KeyError::Store(StoreError::Busy).into(), Code::Overloaded),
        (KeyError::Exists { path: path() }.into(), Code::Internal),
        (KeyError::Overtaken { found: 2 }.into(), Code::Internal),
    ] {
        assert_eq!(error.code(), code, "{error:?}");
    }
}

fn too_old() -> EdgeTooOld {
    let replica = ReplicaName { region: key(), shard: 0 };
    let edge = Box::new(EdgeReader { replica, reader: 2, is_named: false });
    EdgeTooOld { edge, flag: key(), needed: 3 }
}

fn sqlx_error() -> sqlx::Error {
    sqlx::Error::RowNotFound
}

#[test]
fn every_error_of_pulls_batches_snapshots_and_policies_has_its_code() {
    let tenant = || TenantKey::parse("t").unwrap();
    let replica = PullError::UnknownReplica { region: key(), shard: 9, known: key(), shard_max: 0 };
    let out_of_range = PolicyFault::OutOfRange { field: key(), found: key(), allowed: key() };
    for (error, code) in [
        (ApiError::from(replica), Code::UnknownReplica),
        (PullError::TooMany { count: 9 }.into(), Code::BadPull),
        (PullError::Scope { scope: key(), reason: key() }.into(), Code::BadPull),
        (PullError::WrongTenant { scope: key(), tenant: tenant() }.into(), Code::WrongTenant),
        (PullError::Store(StoreError::Busy).into(), Code::Overloaded),
        (IngestError::WrongTenant { claimed: key(), tenant: tenant() }.into(), Code::WrongTenant),
        (IngestError::WrongPlace { place: Place::Tenant }.into(), Code::Forbidden),
        (IngestError::BufferId { len: 0 }.into(), Code::BadBatch),
        (IngestError::BatchSeq { batch_seq: u64::MAX }.into(), Code::BadBatch),
        (IngestError::Panicked { position: 1, batch_seq: 2 }.into(), Code::Internal),
        (IngestError::Store(StoreError::Busy).into(), Code::Overloaded),
        (NewestSnapshotError::Nothing { scope: scope() }.into(), Code::NoSnapshot),
        (NewestSnapshotError::Store(StoreError::Busy).into(), Code::Overloaded),
        (out_of_range.into(), Code::InvalidPolicy),
        (ImportError::TooLong { len: 9, len_max: 8 }.into(), Code::InvalidImport),
    ] {
        assert_eq!(error.code(), code, "{error:?}");
    }
}

#[test]
fn nothing_of_an_error_of_ours_is_told() {
    let error = StoreError::Corrupt { column: "tokens.sha256", found: "secret".to_owned() };
    assert_eq!(ApiError::from(error).detail, "the control plane failed; its log says why");
}

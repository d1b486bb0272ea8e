//! Schemas of what other floors write down, which know nothing of documents: the same fields, bounds and words again. The
//! tests hold every answer and every body of theirs against these.
#![expect(dead_code, reason = "nobody makes a value of a schema")]

mod change;
mod contract;
mod definition;
mod details;
mod fuse;
mod slo;

pub(in crate::api) use self::change::{ChangeNotes, Conflict, DecisionDiff, Decisions, FuseStanding, Lost};
pub(in crate::api) use self::contract::{Baseline, Contract, Judged, Standing};
pub(in crate::api) use self::definition::{
    Arm, AutoExposure, CohortSlice, Flag, FlagBody, FlagPatch, Holdout, Layer, LayerBody, MemberRole,
    Profile, Right, Segment, SegmentBody, TokenKind,
};
pub(in crate::api) use self::details::{FlagDetails, FlagDetailsBody, FlagKind};
pub(in crate::api) use self::fuse::{
    Circuit, Finding, FuseRehearsal, GuardrailEvidence, LintFinding, NextStage, Policy, RampVerdict, Rollout,
    Traffic,
};
pub(in crate::api) use self::slo::{Level, Slo};

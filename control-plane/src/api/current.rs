//! What stands in the place of the state that a writer has seen: its tag and the body that `GET` shows, both of one moment.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::ApiState;
use super::answer::Tagged;
use super::auth::Caller;
use super::contracts::{BaselineAnswer, ContractAnswer, shown_baseline, shown_contract};
use super::document::CURRENT;
use super::environments::{self, Environment};
use super::flag_details::{self, FlagDetailsAnswer};
use super::flags::{self, EnvironmentFlag, FlagAnswer};
use super::fuses::{self, FuseAnswer};
use super::members::{self, MemberAnswer};
use super::parts::{self, Holdout, HoldoutAnswer, Layer, LayerAnswer, Segment, SegmentAnswer};
use super::project_flags::{self, Override};
use super::projects::{self, Project};
use super::slos::{self, SloAnswer};
use super::suppressions::{self, SuppressionAnswer};
use super::tokens::{self, TokenAnswer};
use crate::change::{Subject, Tag};
use crate::error::{ApiError, Shown};
use crate::store::contracts::ContractPart;
use crate::store::parts::Part;

macro_rules! current {
    ($($kind:ident = $answer:ty,)+) => {
        /// Everything that can be written, as its `GET` shows it.
        pub(super) enum Current {
            $($kind(Box<$answer>),)+
        }

        impl Serialize for Current {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                match self {
                    $(Self::$kind(answer) => answer.serialize(serializer),)+
                }
            }
        }

        impl PartialSchema for Current {
            fn schema() -> RefOr<Schema> {
                let said = "What is there, as its `GET` shows it.";
                let any = AnyOfBuilder::new().description(Some(said));
                let any = any$(.item(Ref::from_schema_name(<$answer>::name())))+;
                Schema::AnyOf(any.build()).into()
            }
        }

        impl ToSchema for Current {
            fn name() -> Cow<'static, str> {
                CURRENT.into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(
                    schemas.push((<$answer>::name().into_owned(), <$answer>::schema()));
                    <$answer>::schemas(schemas);
                )+
            }
        }
    };
}

current! {
    Project = Project,
    Environment = Environment,
    Flag = EnvironmentFlag,
    ProjectFlag = FlagAnswer,
    Override = Override,
    FlagDetails = FlagDetailsAnswer,
    Segment = SegmentAnswer,
    Layer = LayerAnswer,
    Holdout = HoldoutAnswer,
    Fuse = FuseAnswer,
    Contract = ContractAnswer,
    Baseline = BaselineAnswer,
    Slo = SloAnswer,
    Suppression = SuppressionAnswer,
    Token = TokenAnswer,
    Member = MemberAnswer,
}

/// The schema with all that it refers to, by their names.
pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(Current::name().into_owned(), Current::schema())];
    Current::schemas(&mut schemas);
    schemas
}

/// What is there of a change's subject, as the caller may see it; nothing when it is gone.
pub(super) async fn of(state: &ApiState, caller: &Caller, subject: &Subject) -> Result<Shown, ApiError> {
    let (mut conn, now) = (state.store.read().await?, state.now());
    let conn = &mut *conn;
    match subject {
        Subject::Project(tenant, key) => told(projects::shown(conn, tenant, key).await?, Current::Project),
        Subject::Settings(scope) => {
            told(environments::shown_settings(conn, scope).await?, Current::Environment)
        }
        Subject::Environment(scope) => told(environments::shown(conn, scope).await?, Current::Environment),
        Subject::Flag(scope, key) => told(flags::shown(conn, scope, key).await?, Current::Flag),
        Subject::ProjectFlag(tenant, project, key) => {
            told(project_flags::shown(conn, tenant, project, key).await?, Current::ProjectFlag)
        }
        Subject::FlagDetails(tenant, project, key) => {
            told(flag_details::shown(conn, tenant, project, key).await?, Current::FlagDetails)
        }
        Subject::Override(scope, key) => {
            told(project_flags::shown_override(conn, scope, key).await?, Current::Override)
        }
        Subject::Part(scope, Part::Segment, key) => {
            told(parts::shown::<Segment>(conn, scope, key).await?, Current::Segment)
        }
        Subject::Part(scope, Part::Layer, key) => {
            told(parts::shown::<Layer>(conn, scope, key).await?, Current::Layer)
        }
        Subject::Part(scope, Part::Holdout, key) => {
            told(parts::shown::<Holdout>(conn, scope, key).await?, Current::Holdout)
        }
        Subject::Fuse(scope, flag) => told(fuses::shown(conn, scope, flag, now).await?, Current::Fuse),
        Subject::Contract(scope, ContractPart::Contract, flag) => {
            told(shown_contract(conn, scope, flag).await?, Current::Contract)
        }
        Subject::Contract(scope, ContractPart::Baseline, flag) => {
            told(shown_baseline(conn, scope, flag).await?, Current::Baseline)
        }
        Subject::Slo(scope, name) => told(slos::shown(conn, scope, name, now).await?, Current::Slo),
        Subject::Suppression(scope, id) => {
            told(suppressions::shown(conn, scope, id, now).await?, Current::Suppression)
        }
        Subject::Token(tenant, id) => told(tokens::shown(conn, tenant, id).await?, Current::Token),
        // Of the caller's tenant, as every change of people is.
        Subject::Member(_, id) => told(members::shown(conn, caller, id).await?, Current::Member),
    }
}

fn told<T>(found: Option<Tagged<T>>, current: impl FnOnce(Box<T>) -> Current) -> Result<Shown, ApiError> {
    let Some(Tagged { tag, body }) = found else { return Ok(Shown { tag: None::<Tag>, body: None }) };
    let body = serde_json::to_value(current(Box::new(body))).map_err(|error| ApiError::internal(&error))?;
    Ok(Shown { tag, body: Some(body) })
}

//! What can be changed about people. Never applies one; secrets are here as digests and passwords as they are kept.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::UnixMillis;

use crate::model::account::PasswordHash;
use crate::model::rights::{Grant, Rights};
use crate::store::sessions::SessionRow;
use crate::store::users::UserRow;

/// The code of a sign-in link.
#[derive(Debug, Clone)]
pub struct CodeToMake {
    /// Digest of the code.
    pub secret: Digest,
    pub expires_ms: UnixMillis,
}

/// What lets somebody in; it has to be true still when the session is made.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A code, which is used up.
    Code(Digest),
    /// The password that was compared.
    Password(PasswordHash),
}

/// A change of people. `rights` are those of whoever makes it: nobody gives or takes a role that they might not give.
#[derive(Debug, Clone)]
pub enum PeopleChange {
    /// Somebody new.
    Invite {
        user: UserRow,
        grants: Vec<Grant>,
        /// The first way in.
        code: CodeToMake,
        rights: Rights,
    },
    /// Other roles in the place of those that the one who makes the change may give.
    SetRoles { user_id: String, grants: Vec<Grant>, rights: Rights },
    /// Somebody goes.
    Remove { user_id: String, rights: Rights },
    /// A sign-in link in the place of the one before.
    MakeLink { user_id: String, code: CodeToMake, rights: Rights },
    /// Somebody chooses another password; they are signed in nowhere but in `kept` then.
    SetPassword {
        user_id: String,
        /// What it has to be still; `None` where it does not matter.
        before: Option<PasswordHash>,
        password: PasswordHash,
        kept: String,
    },
    /// Somebody signs in.
    Open {
        session: SessionRow,
        /// Digest of what the browser gets.
        secret: Digest,
        proof: Proof,
        /// The session that the browser had, by person and session: it ends.
        former: Option<(String, String)>,
    },
    /// Somebody signs out, here or elsewhere.
    End { user_id: String, session_id: String },
}

impl PeopleChange {
    /// Whom it is about.
    pub fn user_id(&self) -> &str {
        match self {
            Self::Invite { user, .. } => &user.user_id,
            Self::Open { session, .. } => &session.user_id,
            Self::SetRoles { user_id, .. }
            | Self::Remove { user_id, .. }
            | Self::MakeLink { user_id, .. }
            | Self::SetPassword { user_id, .. }
            | Self::End { user_id, .. } => user_id,
        }
    }

    /// Whether somebody only gets another way in.
    pub const fn is_link(&self) -> bool {
        matches!(self, Self::MakeLink { .. })
    }

    /// Whether nothing of it can be there yet.
    pub const fn is_creation(&self) -> bool {
        matches!(self, Self::Invite { .. })
    }
}

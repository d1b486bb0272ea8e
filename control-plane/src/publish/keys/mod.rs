//! The installation's keys: made in ceremonies, sealed on disk, read by `serve`. Never sends a private key anywhere.

mod create;
pub mod error;
pub mod files;
pub mod format;
pub mod hold;
mod ring;
pub mod rotation;
pub mod status;

pub use self::create::{Created, NewKeys, RoleSize, create, create_development};
pub use self::error::KeyError;
pub use self::files::Protection;
pub use self::format::{Passphrase, Secret};
pub use self::ring::{InForce, SigningKeys};

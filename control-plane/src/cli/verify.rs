//! `flagfuse verify-snapshot`: a frame on disk against root keys.

use anyhow::bail;
use flagfuse_control_plane::clock::Clock;
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify};

use super::arguments::VerifyArgs;
use super::explain::{claimed_scope, read_frame, refused};

/// What is in a valid frame; an error with the verifier's code for any other.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<String> {
    let frame = read_frame(&args.file)?;
    let roots = TrustedRoots::parse(args.roots.iter().map(String::as_str), args.threshold)?;
    let scope = claimed_scope(&frame)?;
    match verify(&frame, &roots, &scope, None, Clock::System.now()).map_err(refused)? {
        Outcome::Newer(admitted) => Ok(format!(
            "valid: {scope} {} sha256 {} with {} flags, signed at {} ms",
            admitted.held.version,
            admitted.held.digest,
            admitted.snapshot.flags().count(),
            admitted.created_ms.0,
        )),
        Outcome::Same => bail!("nothing is held, so nothing can be the same"),
    }
}

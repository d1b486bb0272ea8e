//! Files that nobody else may read: the mask for new ones, and what is done about old ones.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::Mode;

/// Everything that the owner's group and all others could do.
const OTHERS: u32 = 0o077;

/// From now on, files that this process and its children make are their owner's alone. To be called before anything else.
pub fn mask() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Takes a file from everybody but its owner; whether somebody else had it. A file that is not there is nobody's.
pub fn tighten(path: &Path) -> io::Result<bool> {
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    let mode = metadata.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !OTHERS))?;
    Ok(true)
}

/// Does so and says it. Whoever may not change the mode may be right about it: a warning, no error.
pub fn tighten_or_warn(path: &Path) {
    match tighten(path) {
        Ok(false) => {}
        Ok(true) => {
            tracing::warn!(
                "{}: others could read or write it, and may have: now only its owner can",
                path.display()
            );
        }
        Err(error) => tracing::warn!("{}: others can read or write it: {error}", path.display()),
    }
}

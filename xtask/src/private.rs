//! Files with secrets: only their owner can read them. Knows nothing of what is in them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::Mode;

const OWNER_ONLY: u32 = 0o600;

/// From now on, files that this process and its children make are their owner's alone. To be called before anything else.
pub fn mask() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// Writes a file that only its owner can read, also when it was there and others could.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file =
            fs::File::options().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(path)?;
        // The mode above is for new files only.
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_and_files_that_were_open_to_all_are_private() {
        mask();
        let dir = std::env::temp_dir().join(format!("flagfuse-private-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        fs::write(dir.join("plain"), "made by anybody").unwrap();
        assert_eq!(mode("plain"), 0o600);
        fs::set_permissions(dir.join("plain"), fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&dir.join("plain"), "secret").unwrap();
        write_private(&dir.join("new"), "secret").unwrap();
        assert_eq!((mode("plain"), mode("new"), mode(".")), (0o600, 0o600, 0o700));
        assert_eq!(fs::read_to_string(dir.join("plain")).unwrap(), "secret");
        fs::remove_dir_all(&dir).unwrap();
    }
}

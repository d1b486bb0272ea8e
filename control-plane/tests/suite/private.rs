//! Nobody but the owner can read what the program writes, whatever mask it was started with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::ran;

/// Runs the program as a shell with the loosest of masks would.
fn run(arguments: &[&str], data: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask 000 && exec "$0" "$@""#, env!("CARGO_BIN_EXE_flagfuse")]);
    let output = ran(command.args(arguments).arg("--data").arg(data));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Everything below a folder, itself included, that others may read or write.
fn open_to_others(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::metadata(&path).unwrap();
        if metadata.permissions().mode() & 0o077 != 0 {
            found.push(path.clone());
        }
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn database_and_keys_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    run(&["init"], &data);
    assert!(data.join("flagfuse.db").exists());
    assert_eq!(open_to_others(&data), Vec::<PathBuf>::new());
}

#[test]
fn files_that_others_could_read_are_tightened_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    run(&["init"], &data);
    let loose = ["flagfuse.db", "keys/root.key", "keys/unit.key"].map(|name| data.join(name));
    for path in loose.iter().filter(|path| path.exists()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert!(!open_to_others(&data).is_empty());
    run(&["token", "create", "--kind", "viewer", "--name", "reader"], &data);
    assert_eq!(open_to_others(&data), Vec::<PathBuf>::new());
}

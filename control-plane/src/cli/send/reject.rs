//! Lines that could not be used, and the file that lists them.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use flagfuse_shared::contract::fault::QuarantineCode;
use serde::Serialize;

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reject {
    /// Its number in the input, from 1.
    pub(super) line: u64,
    /// Why, for programs: a code of the quarantine.
    pub(super) code: String,
    /// The field that is wrong, where it is one.
    pub(super) field: Option<String>,
    /// Why, for people.
    pub(super) reason: String,
}

impl Reject {
    /// A line that cannot be sent.
    pub(super) fn unsent(line: u64, code: QuarantineCode, reason: impl Into<String>) -> Self {
        Self { line, code: code.as_str().to_owned(), field: None, reason: reason.into() }
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        format!("line {}: {}: {}", self.line, self.code, self.reason)
    }
}

/// The file, as long as it was when the position was written last.
#[derive(Debug)]
pub(super) struct Rejects {
    file: BufWriter<File>,
    len: u64,
}

impl Rejects {
    /// Opens it. What lies behind `len` belongs to lines that are sent again.
    pub(super) fn open(path: &Path, len: u64) -> anyhow::Result<Self> {
        let opened = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            let found = file.metadata()?.len();
            if found >= len && len > 0 {
                file.set_len(len)?;
            }
            file.seek(SeekFrom::Start(len))?;
            std::io::Result::Ok((file, found))
        };
        let (file, found) = opened().with_context(|| format!("cannot write {}", path.display()))?;
        if len == 0 && found > 0 {
            bail!("{} has something in it, which is not of this import: name another file", path.display());
        }
        if found < len {
            bail!("{} has {found} bytes, should have {len}: it is another file", path.display());
        }
        Ok(Self { file: BufWriter::new(file), len })
    }

    pub(super) fn add(&mut self, reject: &Reject) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(reject)?;
        line.push(b'\n');
        self.file.write_all(&line).context("writing the rejected lines")?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Its length, once everything is with the system.
    pub(super) fn flushed(&mut self) -> anyhow::Result<u64> {
        self.file.flush().context("writing the rejected lines")?;
        Ok(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_behind_the_position_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejects.ndjson");
        let reject = |line| Reject::unsent(line, QuarantineCode::BadJson, "it is empty");
        let mut first = Rejects::open(&path, 0).unwrap();
        first.add(&reject(3)).unwrap();
        let len = first.flushed().unwrap();
        first.add(&reject(9)).unwrap();
        first.flushed().unwrap();
        drop(first);
        let mut second = Rejects::open(&path, len).unwrap();
        second.add(&reject(9)).unwrap();
        second.flushed().unwrap();
        let lines = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"line":3,"code":"bad_json","field":null,"reason":"it is empty"}
{"line":9,"code":"bad_json","field":null,"reason":"it is empty"}
"#;
        assert_eq!(lines, expected);
        assert!(Rejects::open(&path, 0).unwrap_err().to_string().contains("name another file"));
        assert!(Rejects::open(&path, 10_000).unwrap_err().to_string().contains("it is another file"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "nobody's file is touched");
    }
}

//! The input: a file, or what a program hands over. Knows whether it is the one that was begun.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, bail};
use flagfuse_shared::digest::Digest;
use serde::{Deserialize, Serialize};

use super::cut::Place;

/// Bytes of the beginning by which an input is known again.
const HEAD_LEN: u64 = 64 * 1024;
/// Bytes that are read at once.
const BUFFER_LEN: usize = 1 << 18;

/// What an input is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// Bytes; not known of a pipe.
    pub(super) len: Option<u64>,
    /// Bytes of the beginning that were looked at.
    pub(super) head_len: u64,
    /// Their digest.
    pub(super) head: Digest,
}

impl Identity {
    /// Of an input of which so much of the beginning matters.
    pub(super) fn of(len: Option<u64>, head: &[u8]) -> Self {
        Self { len, head_len: head.len() as u64, head: Digest::of(head) }
    }
}

/// An input that is open.
#[derive(Debug)]
pub(super) struct Source {
    /// As it is called in messages.
    pub(super) name: String,
    pub(super) len: Option<u64>,
    head: Vec<u8>,
    rest: Rest,
}

enum Rest {
    /// Stands anywhere; locked for as long as it is open.
    File(File),
    /// Stands behind the head.
    Pipe(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Pipe(_) => "Pipe",
        })
    }
}

impl Source {
    /// A file, which nobody else may be sending.
    pub(super) fn of_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let mut file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        let metadata = file.metadata().with_context(|| format!("cannot read {name}"))?;
        if metadata.is_dir() {
            bail!("{name} is a folder");
        }
        if !metadata.is_file() {
            return Self::of_pipe(&name, Box::new(file));
        }
        // Some file systems have no locks.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            bail!("{name} is being sent by another process");
        }
        let head = head_of(&mut file).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { name, len: Some(metadata.len()), head, rest: Rest::File(file) })
    }

    /// What a program hands over.
    pub(super) fn of_pipe(name: &str, mut pipe: Box<dyn Read + Send>) -> anyhow::Result<Self> {
        let head = head_of(&mut pipe).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { name: name.to_owned(), len: None, head, rest: Rest::Pipe(pipe) })
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::of(self.len, &self.head)
    }

    /// Its beginning.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether it begins as another one did.
    pub(super) fn begins_as(&self, other: &Identity) -> bool {
        let len = usize::try_from(other.head_len).unwrap_or(usize::MAX);
        self.head.get(..len).is_some_and(|head| Digest::of(head) == other.head)
    }

    /// What lies behind a place; an error where another line is in front of it.
    pub(super) fn behind(self, place: &Place) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let Self { name, head, rest, .. } = self;
        let before = place.offset.saturating_sub(place.tail_len);
        let reading = || format!("cannot read {name}");
        let mut input: Box<dyn BufRead + Send> = match rest {
            Rest::File(mut file) => {
                file.seek(SeekFrom::Start(before)).with_context(reading)?;
                Box::new(BufReader::with_capacity(BUFFER_LEN, file))
            }
            Rest::Pipe(pipe) => {
                let rest = BufReader::with_capacity(BUFFER_LEN, pipe);
                let mut all: Box<dyn BufRead + Send> = Box::new(Cursor::new(head).chain(rest));
                io::copy(&mut all.by_ref().take(before), &mut io::sink()).with_context(reading)?;
                all
            }
        };
        let mut tail = Vec::new();
        input.by_ref().take(place.tail_len).read_to_end(&mut tail).with_context(reading)?;
        if Digest::of(&tail) != place.tail {
            bail!("line {} of {name} is not the one that was sent last: it is another file", place.line);
        }
        if tail.last().is_some_and(|last| *last != b'\n')
            && !input.fill_buf().with_context(reading)?.is_empty()
        {
            bail!("line {} of {name} was the last one when it was sent, and has gone on", place.line);
        }
        Ok(input)
    }
}

fn head_of(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(HEAD_LEN).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::super::cut::{Cutter, Size};
    use super::*;

    fn pipe(text: &'static str) -> Source {
        Source::of_pipe("standard input", Box::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn an_input_goes_on_behind_the_line_that_was_sent_last() {
        let text = "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        std::fs::write(&path, text).unwrap();
        let size = Size { lines: 2, bytes: 100 };
        let start = pipe(text).behind(&Place::default()).unwrap();
        let first = Cutter::new(start, Place::default(), size).next().unwrap().unwrap();
        let read = |source: Source| {
            let mut rest = String::new();
            source.behind(&first.until).unwrap().read_to_string(&mut rest).unwrap();
            rest
        };
        assert_eq!(read(pipe(text)), "{\"id\":3}\n");
        assert_eq!(read(Source::of_file(&path).unwrap()), "{\"id\":3}\n");
        let other = pipe("{\"id\":1}\n{\"id\":7}\n{\"id\":3}\n").behind(&first.until).err().unwrap();
        assert!(other.to_string().starts_with("line 2 of standard input is not the one"), "{other}");
        let shorter = pipe("{\"id\":1}\n").behind(&first.until).err().unwrap();
        assert!(shorter.to_string().contains("it is another file"), "{shorter}");
        let open = Cutter::new(&b"1\n2"[..], Place::default(), size).next().unwrap().unwrap().until;
        assert_eq!(pipe("1\n2").behind(&open).unwrap().read_to_string(&mut String::new()).unwrap(), 0);
        let longer = pipe("1\n23\n").behind(&open).err().unwrap();
        assert!(longer.to_string().contains("line 2 of standard input was the last one"), "{longer}");
    }

    #[test]
    fn an_input_is_known_by_how_it_begins_and_sent_by_one_process() {
        let begun = pipe("{\"id\":1}\n").identity();
        assert!(pipe("{\"id\":1}\n{\"id\":2}\n").begins_as(&begun), "it has grown");
        assert!(!pipe("{\"id\":9}\n").begins_as(&begun) && !pipe("").begins_as(&begun));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        std::fs::write(&path, "1\n").unwrap();
        let first = Source::of_file(&path).unwrap();
        let second = Source::of_file(&path).unwrap_err().to_string();
        assert!(second.contains("is being sent by another process"), "{second}");
        drop(first);
        assert_eq!(Source::of_file(&path).unwrap().len, Some(2));
        assert!(Source::of_file(folder.path()).unwrap_err().to_string().contains("is a folder"));
        assert!(
            Source::of_file(&folder.path().join("none")).unwrap_err().to_string().contains("cannot read")
        );
    }
}

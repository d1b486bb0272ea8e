//! The position file: how far an input is sent, so that the next call goes on there. What it says is acknowledged; it may say
//! less than is.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::strict;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cut::{Place, Size};
use super::source::{Identity, Source};
use super::tally::Tally;

const FORMAT: u64 = 1;
/// Bytes of a position file; one has some 800.
const LEN_MAX: u64 = 64 * 1024;

/// How far an input is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u64,
    /// Whose token it was sent with, see [`fingerprint`].
    token: String,
    input: Identity,
    /// How batches are cut. Other cuts would be other batches.
    pub(super) cut: Size,
    /// Everything in front of it is acknowledged.
    pub(super) at: Place,
    /// Whether nothing behind it is: then what lies there may have changed.
    pub(super) is_settled: bool,
    pub(super) tally: Tally,
    /// Bytes of the file of rejected lines.
    pub(super) rejects_len: u64,
}

/// What a token is known by, without being told: the digest of what nobody can guess.
pub(super) fn fingerprint(token: &str) -> String {
    let mut text = Digest::of(format!("flagfuse send\n{token}").as_bytes()).to_string();
    text.truncate(16);
    text
}

/// What this call says of an import that was begun by another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'t> {
    pub(super) token: &'t str,
    /// Whether another token may be of the same environment.
    pub(super) same_environment: bool,
    /// Lines of a batch, where somebody says so.
    pub(super) batch: Option<usize>,
}

impl State {
    /// Of an input of which nothing is sent.
    pub(super) fn begin(source: &Source, terms: Terms<'_>) -> Self {
        let usual = Size::default();
        Self {
            format: FORMAT,
            token: fingerprint(terms.token),
            input: source.identity(),
            cut: Size { lines: terms.batch.unwrap_or(usual.lines), ..usual },
            at: Place::default(),
            is_settled: true,
            tally: Tally::default(),
            rejects_len: 0,
        }
    }

    /// Nothing behind the position was taken: what lies there may change, also where the input is known by it.
    pub(super) fn settle(&mut self, head: &[u8]) {
        let before = usize::try_from(self.at.offset).unwrap_or(usize::MAX).min(head.len());
        self.input = Identity::of(self.input.len, head.get(..before).unwrap_or(head));
        self.is_settled = true;
    }

    /// The same, to go on with; an error where that would send something else, or elsewhere.
    pub(super) fn resume(self, source: &Source, terms: Terms<'_>) -> anyhow::Result<Self> {
        let name = &source.name;
        ensure!(
            source.begins_as(&self.input),
            "{name} begins otherwise than what was begun: it is another file"
        );
        let (had, has) = (self.input.len, source.len);
        if !self.is_settled && had.is_some() && has.is_some() && had != has {
            bail!(
                "{name} has {} bytes, and had {} when it was begun; some of it may have been taken without an answer, and has to be \
                 sent as it was",
                has.unwrap_or_default(),
                had.unwrap_or_default()
            );
        }
        ensure!(
            has.is_none_or(|has| has >= self.at.offset),
            "{name} has {} bytes, of which {} were sent: it is another file",
            has.unwrap_or_default(),
            self.at.offset
        );
        let token = fingerprint(terms.token);
        ensure!(
            // From the beginning it may go anywhere.
            self.token == token || terms.same_environment || self.at.offset == 0,
            "{name} was begun with another token, which may be of another environment: with --same-environment it goes on, with \
             another --state FILE it begins anew"
        );
        if let Some(lines) = terms.batch {
            ensure!(
                lines == self.cut.lines,
                "{name} was begun with --batch {}, and has to go on with it: other requests would not be known again",
                self.cut.lines
            );
        }
        Ok(Self { token, input: source.identity(), ..self })
    }
}

/// Where positions are kept, if anywhere.
#[derive(Debug)]
pub(super) struct StateFile {
    path: Option<PathBuf>,
}

impl StateFile {
    pub(super) const fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// What was written last; nothing where nothing was.
    pub(super) fn read(&self) -> anyhow::Result<Option<State>> {
        let Some(path) = &self.path else { return Ok(None) };
        let shown = path.display();
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.with_context(|| format!("cannot read {shown}"))?,
        };
        let mut bytes = Vec::new();
        file.take(LEN_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
        parse(&bytes).map(Some).with_context(|| {
            format!(
                "{shown} is no position to go on from; without it everything is sent again, and counts once where it was taken \
                 before with the same --batch"
            )
        })
    }

    /// Writes beside, then renames: whoever is killed meanwhile leaves the one before.
    pub(super) fn write(&self, state: &State) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = serde_json::to_vec(state)?;
        write_whole(path, &bytes).with_context(|| {
            format!("cannot write the position {}: --state FILE keeps it elsewhere", path.display())
        })
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<State> {
    ensure!(bytes.len() as u64 <= LEN_MAX, "it has more than {LEN_MAX} bytes");
    let value: Value = strict::parse(bytes).map_err(|fault| anyhow::anyhow!(fault.of("it")))?;
    let format = value.get("format").and_then(Value::as_u64);
    if let Some(newer) = format.filter(|format| *format > FORMAT) {
        bail!("it has the format {newer} of a newer program, this one knows {FORMAT}");
    }
    strict::from_value(&value).map_err(|misfit| anyhow::anyhow!(misfit.of("it")))
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::super::cut::Cutter;
    use super::*;

    const TEXT: &str = "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n";
    const TERMS: Terms<'_> = Terms { token: "ff_server_a", same_environment: false, batch: None };

    fn file(text: &str) -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        std::fs::write(&path, text).unwrap();
        let source = Source::of_file(&path).unwrap();
        (folder, source)
    }

    /// After one line.
    fn begun(is_settled: bool) -> State {
        let (_folder, source) = file(TEXT);
        let state = State::begin(&source, TERMS);
        let one = Size { lines: 1, ..state.cut };
        let first = Cutter::new(TEXT.as_bytes(), state.at.clone(), one).next().unwrap().unwrap();
        State { at: first.until, cut: one, is_settled, ..state }
    }

    fn refused(state: State, text: &str, terms: Terms<'_>) -> String {
        let (_folder, source) = file(text);
        state.resume(&source, terms).unwrap_err().to_string()
    }

    #[test]
    fn another_file_is_refused_and_one_that_was_changed_where_it_may_have_been_taken() {
        let (_folder, same) = file(TEXT);
        assert_eq!(begun(false).resume(&same, TERMS).unwrap().at, begun(false).at);
        let other = refused(begun(true), "{\"id\":9}\n", TERMS);
        assert!(other.contains("begins otherwise"), "{other}");
        let grown = format!("{TEXT}{{\"id\":4}}\n");
        let refusal = refused(begun(false), &grown, TERMS);
        assert!(refusal.contains("has 36 bytes, and had 27"), "{refusal}");
        let (_folder, grown) = file(&grown);
        let resumed = begun(true).resume(&grown, TERMS).unwrap();
        assert_eq!((resumed.input.len, resumed.at.line), (Some(36), 1), "nothing behind it was sent");
        let mut settled = begun(false);
        settled.settle(TEXT.as_bytes());
        let (_folder, mended) = file("{\"id\":1}\n{\"id\":\"mended\"}\n");
        assert_eq!(settled.clone().resume(&mended, TERMS).unwrap().at.line, 1);
        assert!(refused(settled, "{\"id\":9}\n{\"id\":2}\n", TERMS).contains("begins otherwise"));
        let mut far = begun(true);
        far.at.offset = 1_000;
        assert!(refused(far, TEXT, TERMS).contains("of which 1000 were sent"));
    }

    #[test]
    fn another_token_and_other_cuts_are_refused_unless_somebody_knows_better() {
        let other = Terms { token: "ff_server_b", ..TERMS };
        assert!(refused(begun(true), TEXT, other).contains("--same-environment"));
        let (_folder, source) = file(TEXT);
        let resumed = begun(true).resume(&source, Terms { same_environment: true, ..other }).unwrap();
        assert_eq!(resumed.token, fingerprint("ff_server_b"));
        State::begin(&source, TERMS).resume(&source, other).unwrap();
        let cuts = refused(begun(true), TEXT, Terms { batch: Some(7), ..TERMS });
        assert!(cuts.contains("begun with --batch 1"), "{cuts}");
        begun(true).resume(&source, Terms { batch: Some(1), ..TERMS }).unwrap();
        assert!(!serde_json::to_string(&begun(true)).unwrap().contains("ff_server"), "no token in a file");
    }

    #[test]
    fn a_position_is_written_whole_and_a_torn_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.sent");
        let kept = StateFile::new(Some(path.clone()));
        assert_eq!(kept.read().unwrap(), None);
        kept.write(&begun(false)).unwrap();
        kept.write(&begun(true)).unwrap();
        assert_eq!(kept.read().unwrap(), Some(begun(true)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let whole = std::fs::read(&path).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap().replace("\"format\":1", "\"format\":2");
        for (bytes, said) in [
            (&whole[..whole.len() / 2], "it ends too early"),
            (&b""[..], "it is empty"),
            (newer.as_bytes(), "format 2 of a newer program"),
            (&b"{\"format\":1}"[..], "token"),
            (&b"[".repeat(70_000), "more than 65536 bytes"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", kept.read().unwrap_err());
            assert!(error.contains(said) && error.contains("is no position to go on from"), "{error}");
        }
        let nowhere = StateFile::new(None);
        nowhere.write(&begun(true)).unwrap();
        assert_eq!(nowhere.read().unwrap(), None);
        let unwritable = StateFile::new(Some(folder.path().join("none/events.sent")));
        let error = format!("{:#}", unwritable.write(&begun(true)).unwrap_err());
        assert!(error.contains("--state FILE keeps it elsewhere"), "{error}");
    }
}

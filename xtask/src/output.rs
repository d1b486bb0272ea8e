//! What a command says, gathered within a bound: one that hangs is killed, and what it had said by then is in the error.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::OwnedProcess;

/// How long what a dead command has written may take to arrive here. Only a grandchild that left the group can hold it up.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs `command`, which has nothing to read, to its end; its status is for the caller to judge.
pub fn output(what: &str, command: &mut Command, limit: Duration) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = OwnedProcess::spawn(what, command)?;
    let stdout = Gathered::from(process.take_stdout().context("its output is piped")?);
    let stderr = Gathered::from(process.take_stderr().context("its errors are piped")?);
    let status = process.wait_for(limit)?;
    // Its own children hold the same pipes.
    process.kill();
    let (stdout, stderr) = (stdout.all(), stderr.all());
    if let Some(status) = status {
        return Ok(Output { status, stdout, stderr });
    }
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    bail!("{what}: not done within {} s, so it was killed; it had said:\n{said}{errors}", limit.as_secs())
}

/// What a pipe has brought so far.
#[derive(Debug)]
pub struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Gathered {
    /// Begins to read, in a thread of its own.
    pub fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = channel();
        let into = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                let read = chunk.get(..len).unwrap_or_default();
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
            }
            // Nobody may be waiting.
            let _ = end.send(());
        });
        Self { bytes, ended }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything, once the writer is gone; what there is when that takes long.
    pub fn all(&self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(DRAIN);
        self.so_far()
    }
}

/// A child that answers each line with a line. Dropping it closes its input, gives it a moment to end in order, and kills it.
#[derive(Debug)]
pub struct Dialogue {
    name: String,
    /// `None` once nothing more will be asked.
    questions: Option<Sender<String>>,
    answers: Receiver<String>,
    errors: Gathered,
    process: OwnedProcess,
}

impl Dialogue {
    /// Starts `command`; `name` is for messages.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = OwnedProcess::spawn_reading(name, command, Stdio::piped())?;
        let mut input = process.take_stdin().context("its input is piped")?;
        let output = BufReader::new(process.take_stdout().context("its output is piped")?);
        let errors = Gathered::from(process.take_stderr().context("its errors are piped")?);
        // Both in threads of their own: a child that reads nothing must not hold up who asks it.
        let (questions, asked) = channel::<String>();
        thread::spawn(move || asked.iter().try_for_each(|line| writeln!(input, "{line}")));
        let (answer, answers) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| answer.send(line)));
        Ok(Self { name: name.to_owned(), questions: Some(questions), answers, errors, process })
    }

    /// Sends a line and waits for the answer. After an error it is of no use any more.
    pub fn ask(&mut self, line: &str, limit: Duration) -> Result<String> {
        let asked = self.questions.as_ref().map(|questions| questions.send(line.to_owned()));
        let why = match self.answers.recv_timeout(limit) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => format!("gives no answer within {} s", limit.as_secs()),
            Err(RecvTimeoutError::Disconnected) if matches!(asked, Some(Ok(()))) => {
                "ended instead".to_owned()
            }
            Err(RecvTimeoutError::Disconnected) => "had ended".to_owned(),
        };
        self.process.kill();
        let errors = String::from_utf8_lossy(&self.errors.all()).into_owned();
        bail!("{} {why}; asked was {line}; its complaints:\n{errors}", self.name)
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.questions = None;
        // What it owns itself, such as a browser, it closes better than a signal does.
        let _ = self.process.wait_for(DRAIN);
        self.process.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time for a shell to say its first words, on a machine that is busy.
    const SOON: Duration = Duration::from_secs(15);
    const LATE: Duration = Duration::from_mins(1);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_was_said_and_how_it_ended_is_all_there() {
        let found = output("a shell", &mut shell("echo out; echo err >&2; exit 3"), LATE).unwrap();
        assert_eq!(
            (found.status.code(), &found.stdout[..], &found.stderr[..]),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
        // More than a pipe holds, and a grandchild that keeps the pipe open.
        let found = output("a shell", &mut shell("sleep 600 & yes | head -c 300000"), LATE).unwrap();
        assert_eq!(found.stdout.len(), 300_000);
    }

    #[test]
    fn what_a_hanging_command_had_said_is_in_the_error() {
        let error =
            output("a shell", &mut shell("echo out; echo err >&2; sleep 600"), SOON).unwrap_err().to_string();
        assert!(
            error.starts_with("a shell: not done within 15 s, so it was killed; it had said:"),
            "{error}"
        );
        assert!(error.contains("out\n") && error.contains("err\n"), "{error}");
    }

    #[test]
    fn a_dialogue_goes_line_by_line_and_nobody_waits_for_ever() {
        let script = "read a; echo complaint >&2; echo \"$a!\"; sleep 600";
        let mut dialogue = Dialogue::start("a shell", &mut shell(script)).unwrap();
        assert_eq!(dialogue.ask("one", LATE).unwrap(), "one!");
        // Longer than a pipe, to somebody who reads no further and complained before the first answer.
        let error = dialogue.ask(&"x".repeat(300_000), SOON).unwrap_err().to_string();
        assert!(error.starts_with("a shell gives no answer within 15 s"), "{}", &error[..80]);
        assert!(error.ends_with("complaint\n"), "{}", &error[error.len() - 80..]);
        let mut ended = Dialogue::start("a shell", &mut shell("read a; exit 1")).unwrap();
        let error = ended.ask("one", LATE).unwrap_err().to_string();
        assert!(error.starts_with("a shell ended instead; asked was one"), "{error}");
    }
}

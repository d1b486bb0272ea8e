//! Ports: those that `up` listens on, looked at before anything is compiled, and free ones for everything else.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Below those that systems give to whoever connects to somebody: none of these is taken between two looks.
const FREE: Range<u16> = 10_300..29_900;

/// Locks of the ports that this process has been given, until its end.
static GIVEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port, and the option that chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedPort {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// Who is to listen there.
    pub listener: &'static str,
    /// The option of `up` that chooses another.
    pub option: &'static str,
}

/// An error that names every port that somebody else listens on, and how to choose others.
pub fn check(wanted: &[WantedPort]) -> Result<()> {
    let taken: Vec<String> = wanted
        .iter()
        .filter(|wanted| TcpListener::bind((Ipv4Addr::LOCALHOST, wanted.port)).is_err())
        .map(|wanted| {
            let WantedPort { port, listener, option } = wanted;
            format!("port {port} on 127.0.0.1 is taken, the {listener} would listen there: choose another with {option} N")
        })
        .collect();
    if !taken.is_empty() {
        bail!("{}\n(or stop what listens there, another `cargo xtask up` perhaps)", taken.join("\n"));
    }
    Ok(())
}

/// Ports on which nobody listens and that no other process is given while this one lives, although whoever is to listen
/// there has yet to start, or starts again.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let dir = std::env::temp_dir().join("flagfuse-ports");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Others begin elsewhere, so that they seldom meet.
    let room = usize::from(FREE.end - FREE.start);
    let begin = (std::process::id() as usize).wrapping_mul(37) + given.len();
    let mut ports = Vec::new();
    for at in (0..room).map(|step| (begin + step) % room) {
        if ports.len() == count {
            return Ok(ports);
        }
        let port = FREE.start + u16::try_from(at).unwrap_or_default();
        if let Some(lock) = take(&dir, port) {
            given.push(lock);
            ports.push(port);
        }
    }
    bail!("of the ports {} to {} fewer than {count} are free", FREE.start, FREE.end)
}

/// The port's lock, which ends with the process that holds it; `None` when another has it, or listens there.
fn take(dir: &Path, port: u16) -> Option<File> {
    let lock = File::create(dir.join(port.to_string())).ok()?;
    lock.try_lock().ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(lock)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_free_port_is_given_once_and_not_while_somebody_listens_or_another_process_has_it() {
        let ports = free(40).unwrap();
        let more = free(40).unwrap();
        let all: BTreeSet<u16> = ports.iter().chain(&more).copied().collect();
        assert_eq!(all.len(), 80, "{ports:?} {more:?}");
        assert!(all.iter().all(|port| FREE.contains(port)));
        // A lock is the file's, whoever opened it: another process fares like this.
        let dir = std::env::temp_dir().join("flagfuse-ports");
        assert!(take(&dir, ports[0]).is_none());
        let own = std::env::temp_dir().join(format!("ports-{}", std::process::id()));
        fs::create_dir_all(&own).unwrap();
        let held = take(&own, ports[0]);
        assert!(held.is_some(), "it is free but for the lock");
        drop(held);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
        assert!(take(&own, ports[0]).is_none());
        fs::remove_dir_all(&own).unwrap();
    }

    #[test]
    fn a_taken_port_is_named_with_its_option_and_a_free_one_is_not() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let wanted = |port| WantedPort { port, listener: "edge", option: "--edge-port" };
        let error = check(&[wanted(taken)]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {taken}")) && error.contains("--edge-port N"), "{error}");
        drop(holder);
        check(&[wanted(taken)]).unwrap();
    }
}

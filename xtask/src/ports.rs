//! The ports that `up` listens on, looked at before anything is compiled.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

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

#[cfg(test)]
mod tests {
    use super::*;

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

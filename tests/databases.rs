//! Databases that cannot be worked with: the control plane says so in one sentence, with what to do, and ends before it
//! listens. No password is in what it says.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use support::{COMMAND_LIMIT, fresh_dir, output, root};
use xtask::ports;
use xtask::postgres::Postgres;
use xtask::stack::build_control_plane;

/// In every URL that has one.
const PASSWORD: &str = "s3cret-of-ada";

/// A program with a data directory that has keys and a database of its own.
struct Program {
    path: PathBuf,
    data: PathBuf,
    /// Held all the time: who comes as far as listening says another sentence.
    taken: TcpListener,
}

impl Program {
    fn new(name: &str) -> Self {
        let path = build_control_plane(root()).expect("the control plane builds");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let program = Self { path, data: fresh_dir(name), taken };
        let made = program.run(&["init"], None);
        assert!(made.status.success(), "{}", said(&made));
        program
    }

    fn run(&self, arguments: &[&str], database_url: Option<&str>) -> Output {
        let mut command = Command::new(&self.path);
        command.args(arguments).arg("--data").arg(&self.data).env_remove("FLAGFUSE_DATABASE_URL");
        if let Some(url) = database_url {
            command.args(["--database-url", url]);
        }
        output("flagfuse", &mut command, COMMAND_LIMIT)
    }

    /// Every command that opens the database is refused with one sentence that has all of `words`.
    fn is_refused(&self, url: &str, words: &[&str]) {
        let listen = self.taken.local_addr().expect("an address").to_string();
        for arguments in [
            &["serve", "--listen", &listen][..],
            &["init"],
            &["migrate"],
            &["token", "create", "--kind", "admin", "--name", "n"],
            &["keys", "verify"],
        ] {
            let found = self.run(arguments, Some(url));
            let text = said(&found);
            assert_eq!(found.status.code(), Some(1), "{arguments:?}: {text}");
            assert!(found.stdout.is_empty(), "{arguments:?}: {text}");
            assert_eq!(text.trim_end().lines().count(), 1, "{arguments:?}: {text}");
            for word in words {
                assert!(text.contains(word), "{arguments:?}: {word:?} is not in {text}");
            }
            assert!(!text.contains(PASSWORD), "{arguments:?}: {text}");
        }
    }

    /// The way it is refused from the environment is the same.
    fn is_refused_from_the_environment(&self, url: &str, word: &str) {
        let mut command = Command::new(&self.path);
        command.args(["migrate", "--data"]).arg(&self.data).env("FLAGFUSE_DATABASE_URL", url);
        let found = output("flagfuse", &mut command, COMMAND_LIMIT);
        let text = said(&found);
        assert!(!found.status.success() && text.contains(word) && !text.contains(PASSWORD), "{text}");
    }
}

fn said(found: &Output) -> String {
    String::from_utf8_lossy(&found.stderr).into_owned()
}

#[test]
fn urls_that_lead_nowhere_are_refused() {
    let program = Program::new("databases_nowhere");
    let with_password = |rest: &str| format!("postgres://ada:{PASSWORD}@{rest}");
    let mysql = format!("mysql://ada:{PASSWORD}@127.0.0.1/flags");
    program.is_refused(&mysql, &["mysql://", "postgres://USER@HOST/DATABASE or sqlite:///PATH"]);
    program.is_refused_from_the_environment(&mysql, "mysql://");
    program.is_refused(PASSWORD, &["no scheme", "postgres://USER@HOST/DATABASE or sqlite:///PATH"]);
    program.is_refused(&with_password("127.0.0.1"), &["names no database"]);
    program.is_refused(&with_password("127.0.0.1/flags?pasword=x"), &["\"pasword\"", "known are"]);
    program.is_refused(
        "sqlite:///no/such/folder/flags.db",
        &["/no/such/folder/flags.db", "check that its folder"],
    );
    // Nobody listens there.
    let port = ports::free(1).unwrap()[0];
    let url = with_password(&format!("127.0.0.1:{port}/flags"));
    program.is_refused(&url, &[&format!("127.0.0.1:{port}/flags cannot be reached"), "start the server"]);
    let url = with_password("no-such-host.invalid/flags");
    program.is_refused(&url, &["no-such-host.invalid/flags cannot be reached", "correct host and port"]);
}

#[test]
fn a_server_that_is_too_old_is_refused_whatever_else_it_says() {
    let program = Program::new("databases_old");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://ada:{PASSWORD}@{}/flags", server.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            // A client that has gone is as good as one that was told.
            let _ = greet_as_postgres_14(&mut stream);
        }
    });
    program.is_refused(&url, &["is PostgreSQL 14", "at least 15 is needed", "upgrade"]);
}

/// What version 14 says to begin with: no encryption, welcome, its version, ready.
fn greet_as_postgres_14(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut first = [0; 8];
    stream.read_exact(&mut first)?;
    // Eight bytes ask for encryption; anything longer begins a session.
    if first == [0, 0, 0, 8, 4, 210, 22, 47] {
        stream.write_all(b"N")?;
        stream.read_exact(&mut first)?;
    }
    let len = u32::from_be_bytes([first[0], first[1], first[2], first[3]]);
    stream.read_exact(&mut vec![0; len as usize - first.len()])?;
    let message = |kind: u8, body: &[u8]| {
        let len = u32::try_from(body.len() + 4).expect("it is short");
        [&[kind], &len.to_be_bytes()[..], body].concat()
    };
    stream.write_all(&message(b'R', &[0; 4]))?;
    stream.write_all(&message(
        b'S',
        b"server_version\0".iter().chain(b"14.19\0").copied().collect::<Vec<_>>().as_slice(),
    ))?;
    stream.write_all(&message(b'K', &[0; 8]))?;
    stream.write_all(&message(b'Z', b"I"))?;
    // Until the client ends.
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

/// A server where roles can be made; `None` where there is none, which is said and is an error in CI.
fn server() -> Option<Postgres> {
    Postgres::private_for_tests().unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn servers_that_cannot_be_worked_with_are_refused() {
    let Some(server) = server() else { return };
    let program = Program::new("databases_refused");
    let admin = |sql: &str| server.run(server.admin_url(), sql).unwrap();
    admin("CREATE ROLE ada LOGIN");
    admin("CREATE ROLE nobody NOLOGIN");
    let database = |name: &str| server.fresh_database(name).unwrap();
    let as_ada = |name: &str| server.url_as("ada", PASSWORD, name);

    program.is_refused(&as_ada("absent"), &["/absent does not exist", "createdb"]);
    database("closed");
    let url = server.url_as("nobody", PASSWORD, "closed");
    program.is_refused(&url, &["does not let us in", "not permitted to log in", "pg_hba.conf"]);

    admin("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0");
    program.is_refused(&as_ada("latin"), &["the encoding LATIN1", "--encoding=UTF8"]);

    database("readonly");
    admin("ALTER DATABASE readonly SET default_transaction_read_only = on");
    admin("ALTER DATABASE readonly OWNER TO ada");
    program.is_refused(&as_ada("readonly"), &["is read-only", "default_transaction_read_only"]);

    let fresh = database("fresh");
    program.is_refused(
        &as_ada("fresh"),
        &["does not let the role make tables", "grant CREATE on schema public"],
    );
    server.run(&fresh, "GRANT CREATE ON SCHEMA public TO ada").unwrap();
    server.run(&fresh, "ALTER ROLE ada IN DATABASE fresh SET search_path = nowhere").unwrap();
    program.is_refused(&as_ada("fresh"), &["has no schema for the role", "search_path"]);
    server.run(&fresh, "ALTER ROLE ada IN DATABASE fresh RESET search_path").unwrap();
    // Tables that somebody else has made.
    migrated(&program, &fresh);
    program.is_refused(&as_ada("fresh"), &["does not let the role write table acks", "grant it ALL"]);
    server.run(&fresh, "GRANT ALL ON ALL TABLES IN SCHEMA public TO ada").unwrap();
    // As an earlier program left it: the next migration, `0034_basis`, alters a table that is not the role's.
    server.run(&fresh, "DELETE FROM migrations WHERE migration >= 34").unwrap();
    program.is_refused(&as_ada("fresh"), &["does not let the role change its tables", "flagfuse migrate"]);
    // Whoever may write and make nothing can work with tables that are as they should be.
    let working = database("working");
    migrated(&program, &working);
    server.run(&working, "GRANT ALL ON ALL TABLES IN SCHEMA public TO ada").unwrap();
    let found = program.run(&["init"], Some(&as_ada("working")));
    assert!(found.status.success(), "{}", said(&found));

    let newer = database("newer");
    migrated(&program, &newer);
    server.run(&newer, "INSERT INTO migrations VALUES (9999)").unwrap();
    program.is_refused(&newer, &["migration 9999", "start a newer program"]);

    let primary = database("standby");
    migrated(&program, &primary);
    let standby = server.start_standby().unwrap();
    program.is_refused(&standby.url("standby"), &["is a hot standby", "the URL of the primary"]);
}

fn migrated(program: &Program, url: &str) {
    let found = program.run(&["migrate"], Some(url));
    assert!(found.status.success(), "{}", said(&found));
}

#[test]
fn a_database_that_is_anothers_is_not_taken_over_and_no_log_has_a_password() {
    let Some(server) = server() else { return };
    let program = Program::new("databases_others");
    let url = server.fresh_database("mine").unwrap().replace("postgres@", &format!("postgres:{PASSWORD}@"));
    let mut init = Command::new(&program.path);
    init.args(["init", "--log", "trace", "--database-url", &url, "--data"]).arg(&program.data);
    let found = output("flagfuse init", &mut init, COMMAND_LIMIT);
    let (text, printed) = (said(&found), String::from_utf8_lossy(&found.stdout).into_owned());
    assert!(found.status.success() && printed.contains("admin token"), "{text}");
    assert!(text.contains("SELECT"), "it traces: {text}");
    assert!(!text.contains(PASSWORD) && !printed.contains(PASSWORD), "{text}{printed}");

    let again = program.run(&["init"], Some(&url));
    assert!(said(&again).contains("/mine is initialised already: "), "{}", said(&again));
    assert!(!again.status.success());
    // Of another installation, whose keys are others.
    let other = Program::new("databases_other_keys");
    let found = other.run(&["token", "create", "--kind", "admin", "--name", "n"], Some(&url));
    assert!(!found.status.success() && said(&found).contains("other keys"), "{}", said(&found));
    // And the right one still works.
    let found = program.run(&["token", "create", "--kind", "admin", "--name", "n"], Some(&url));
    assert!(found.status.success(), "{}", said(&found));
    assert!(Path::new(&program.data.join("flagfuse.db")).exists(), "its own database is left alone");
}

//! The cookie of a session, and where the page comes from that makes a request.

use axum::http::header::{COOKIE, HOST, HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;

/// Beyond loopback. Browsers take a name like this only with `Secure`, for this host alone and from it alone.
const NAME: &str = "__Host-flagfuse";
/// On loopback, where there is no TLS and some browsers keep no cookie that is `Secure`.
const NAME_ON_LOOPBACK: &str = "flagfuse";

/// Where the page comes from that makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From here.
    Same,
    /// From elsewhere.
    Other,
    /// Nothing says so: no browser of today.
    Unsaid,
}

/// Under which name this host's browsers have it.
fn name(parts: &Parts) -> &'static str {
    if is_loopback(host(parts)) { NAME_ON_LOOPBACK } else { NAME }
}

/// What the caller called us, with the port.
fn host(parts: &Parts) -> &str {
    let header = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| parts.uri.authority().map(Authority::as_str)).unwrap_or_default()
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_name = name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().strip_suffix(".localhost").is_some_and(|name| !name.is_empty());
    is_name || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the browser has of a session. Of two cookies of the name neither is taken: one of them was put there by somebody else.
pub(super) fn read(parts: &Parts) -> Option<String> {
    let name = name(parts);
    let lines = parts.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The session under both names, for another control plane of the same database, whatever it is called.
pub(super) fn passed_on(parts: &Parts) -> Option<HeaderValue> {
    let secret = read(parts)?;
    let mut both = HeaderValue::try_from(format!("{NAME}={secret}; {NAME_ON_LOOPBACK}={secret}")).ok()?;
    both.set_sensitive(true);
    Some(both)
}

/// What a browser is told to keep; `None` takes it away.
pub(super) fn write(parts: &Parts, secret: Option<&str>, age_s: u64) -> Option<HeaderValue> {
    let (name, secure) = match name(parts) {
        NAME => (NAME, "; Secure"),
        other => (other, ""),
    };
    let (value, age_s) = secret.map_or(("", 0), |secret| (secret, age_s));
    let line = format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}");
    let mut line = HeaderValue::try_from(line).ok()?;
    line.set_sensitive(true);
    Some(line)
}

/// Where the page comes from that makes a request. Behind a proxy that gives us another host the first header still tells.
pub(super) fn origin(parts: &Parts) -> Origin {
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (header("sec-fetch-site"), header(ORIGIN.as_str())) {
        (Some("same-origin"), _) => Origin::Same,
        (Some(_), _) => Origin::Other,
        (None, Some(origin)) => {
            let of_origin = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let host = host(parts);
            let is_same = !host.is_empty() && of_origin.is_some_and(|own| own.eq_ignore_ascii_case(host));
            if is_same { Origin::Same } else { Origin::Other }
        }
        (None, None) => Origin::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_cookie_is_of_this_host_alone_beyond_loopback() {
        for (host, line) in [
            ("flags.example:443", "__Host-flagfuse=s; Path=/; Max-Age=9; HttpOnly; SameSite=Strict; Secure"),
            ("127.0.0.1.example", "__Host-flagfuse=s; Path=/; Max-Age=9; HttpOnly; SameSite=Strict; Secure"),
            ("127.0.0.1:7400", "flagfuse=s; Path=/; Max-Age=9; HttpOnly; SameSite=Strict"),
            ("[::1]:7400", "flagfuse=s; Path=/; Max-Age=9; HttpOnly; SameSite=Strict"),
            ("localhost", "flagfuse=s; Path=/; Max-Age=9; HttpOnly; SameSite=Strict"),
        ] {
            assert_eq!(write(&parts(&[("host", host)]), Some("s"), 9).unwrap(), line, "{host}");
        }
        let gone = write(&parts(&[("host", "x.example")]), None, 9).unwrap();
        assert!(gone.to_str().unwrap().starts_with("__Host-flagfuse=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn a_cookie_of_another_name_or_one_of_two_is_not_taken() {
        let read = |host, cookie| read(&parts(&[("host", host), ("cookie", cookie)]));
        assert_eq!(read("x.example", "a=b; __Host-flagfuse=s"), Some("s".to_owned()));
        assert_eq!(read("x.example", "flagfuse=s"), None, "anybody in the domain may set that");
        assert_eq!(read("localhost:1", "flagfuse=s"), Some("s".to_owned()));
        assert_eq!(read("localhost:1", "flagfuse=s; flagfuse=t"), None);
        assert_eq!(read("localhost:1", ""), None);
    }

    #[test]
    fn a_request_is_from_here_when_the_browser_says_so() {
        let origin = |headers: &[(&str, &str)]| origin(&parts(headers));
        let host = ("host", "x.example:81");
        assert_eq!(origin(&[host, ("sec-fetch-site", "same-origin")]), Origin::Same);
        for site in ["same-site", "cross-site", "none", ""] {
            let headers = [host, ("sec-fetch-site", site), ("origin", "http://x.example:81")];
            assert_eq!(origin(&headers), Origin::Other, "{site}");
        }
        assert_eq!(origin(&[host, ("origin", "https://x.example:81")]), Origin::Same);
        for other in ["http://x.example", "http://x.example:82", "null", "x.example:81", ""] {
            assert_eq!(origin(&[host, ("origin", other)]), Origin::Other, "{other}");
        }
        assert_eq!(origin(&[("origin", "http://")]), Origin::Other, "no host is no host");
        assert_eq!(origin(&[host]), Origin::Unsaid);
    }
}

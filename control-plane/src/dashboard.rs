//! The page: hands out what `cargo xtask build dashboard` has made, beside the API and never in its place. Knows nothing of flags.

use std::borrow::Cow;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rust_embed::RustEmbed;

use crate::error::ApiError;
use crate::random;

/// What the build has made: part of the binary in a release, read from its folder in a debug build. It may be missing: Rust
/// compiles without Node.js.
#[derive(RustEmbed)]
#[folder = "dashboard/dist/"]
#[allow_missing = true]
struct Built;

/// Where the page stands. Its links and files are named from here.
const BASE: &str = "/";
/// What is never the page's, whoever asks.
const OTHERS: [&str; 7] = ["/v1/", "/v1", "/metrics", "/healthz", "/ofrep/", "/api/", "/assets/"];
/// Each with the ending of its files, the better one first.
const ENCODINGS: [(&str, &str); 2] = [("br", "br"), ("gzip", "gz")];
/// Names hold a digest of the content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Said instead of the page by a binary that was built without it.
const UNBUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Flagfuse</title>
<h1>The dashboard is not built</h1>
<p>This control plane works; only its page is missing. With Node.js 20 or newer: <code>cargo xtask build dashboard</code>, then build the
control plane again (a debug build finds the page by itself). The API is at <code>/v1</code>.</p></html>
";

/// The page before everything that the router answers. It takes navigations of browsers alone, so that a program that asks for
/// what is not there is told so by the API.
pub(crate) fn before(router: Router) -> Router {
    router.layer(from_fn(serve))
}

async fn serve(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        if let Some(name) = path.strip_prefix('/').filter(|name| name.starts_with("assets/"))
            && let Some(answer) = asset(name, request.headers())
        {
            return answer;
        }
        if is_navigation(path, request.headers()) {
            return page().unwrap_or_else(ApiError::into_response);
        }
    }
    next.run(request).await
}

/// Whether somebody opens an address in a browser that is not another one's.
fn is_navigation(path: &str, headers: &HeaderMap) -> bool {
    let is_other = |other: &&str| path == *other || (other.ends_with('/') && path.starts_with(*other));
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !OTHERS.iter().any(is_other)
}

/// A file of the build, packed as well as the browser can unpack it.
fn asset(name: &str, headers: &HeaderMap) -> Option<Response> {
    let content_type = content_type(name)?;
    let packed = ENCODINGS.iter().find_map(|(encoding, ending)| {
        let file = accepts_encoding(headers, encoding).then(|| Built::get(&format!("{name}.{ending}")));
        Some((file.flatten()?, Some(*encoding)))
    });
    let (file, encoding) = packed.or_else(|| Some((Built::get(name)?, None)))?;
    let mut response =
        answer(StatusCode::OK, content_type, file.data, "default-src 'none'; connect-src 'self'");
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Some(response)
}

fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

/// Whether `Accept-Encoding` names an encoding and does not refuse it by `q=0`.
fn accepts_encoding(headers: &HeaderMap, encoding: &str) -> bool {
    let listed = headers.get(ACCEPT_ENCODING).and_then(|list| list.to_str().ok()).unwrap_or_default();
    listed.split(',').any(|part| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case(encoding) && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// `index.html` with a nonce of its own, which its policy lets write styles.
fn page() -> Result<Response, ApiError> {
    let bytes = random::bytes_32().map_err(|error| ApiError::internal(&error))?;
    let nonce = STANDARD.encode(bytes);
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; img-src 'self' data:; \
         font-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    );
    let Some(index) = Built::get("index.html") else {
        return Ok(answer(StatusCode::SERVICE_UNAVAILABLE, HTML, UNBUILT.as_bytes().into(), &policy));
    };
    let template = String::from_utf8_lossy(&index.data);
    let html =
        template.replace("{{nonce}}", &nonce).replace("{{base}}", BASE).replace("\"./", &format!("\"{BASE}"));
    Ok(answer(StatusCode::OK, HTML, html.into_bytes().into(), &policy))
}

const HTML: &str = "text/html; charset=utf-8";

/// With what every answer of the page says. Nobody keeps it, unless it is told otherwise afterwards.
fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    policy: &str,
) -> Response {
    let body = match body {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(HeaderName, &'static str)]) -> HeaderMap {
        rows.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_browsers_that_open_an_address_get_the_page_and_never_at_one_of_the_api() {
        let browser = headers(&[(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")]);
        for path in ["/", "/demo/production", "/demo/production/flags/v1", "/v1x", "/metrics/production"] {
            assert!(is_navigation(path, &browser), "{path}");
        }
        for path in
            ["/v1", "/v1/nothing", "/v1/projects", "/metrics", "/healthz", "/api/frontend", "/assets/no.js"]
        {
            assert!(!is_navigation(path, &browser), "{path}");
        }
        assert!(!is_navigation("/demo/production", &headers(&[(ACCEPT, "*/*")])), "as curl asks");
        assert!(!is_navigation("/", &HeaderMap::new()));
    }

    #[test]
    fn an_encoding_is_taken_when_it_is_named_and_not_refused() {
        let browser = headers(&[(ACCEPT_ENCODING, "gzip, deflate, br;q=0.9")]);
        assert!(accepts_encoding(&browser, "br") && accepts_encoding(&browser, "gzip"));
        let refusing = headers(&[(ACCEPT_ENCODING, "gzip;q=0, brotli")]);
        assert!(!accepts_encoding(&refusing, "gzip") && !accepts_encoding(&refusing, "br"));
    }

    #[test]
    fn every_page_has_a_nonce_of_its_own_under_a_policy_that_names_it() {
        let policy = || {
            let page = page().unwrap();
            page.headers().get(CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap().to_owned()
        };
        let (one, other) = (policy(), policy());
        assert_ne!(one, other);
        assert!(one.starts_with("default-src 'none'; script-src 'self'; "), "{one}");
        assert!(!one.contains("unsafe"), "{one}");
    }

    #[test]
    fn what_is_no_file_of_the_build_is_nobodys() {
        assert!(asset("assets/../index.html", &HeaderMap::new()).is_none());
        assert!(asset("assets/nothing.js", &HeaderMap::new()).is_none());
    }
}

//! The runner against servers that answer, dawdle, refuse and hang up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Parser as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};

use super::sample::{Kind, Sample};
use super::*;
use crate::cli::arguments::{Cli, Command};

/// No test of this file takes longer.
const BOUND: Duration = Duration::from_mins(1);
/// After how long a request has failed here: on a machine that stands still for seconds, nothing else may take so long.
const TIMEOUT_MS: &str = "15000";

fn arguments(words: &[&str]) -> BaselineArgs {
    let words = ["flagfuse", "baseline"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Baseline(args) => args,
        other => panic!("{other:?}"),
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/shop?key=secret")
}

async fn measured(words: &[&str]) -> (Vec<Sample>, Baseline) {
    let args = arguments(words);
    let plan = Arc::new(plan(&args).unwrap());
    let mut seen = 0;
    let samples = timeout(BOUND, load::run(&plan, |done, _| seen = done)).await.unwrap();
    assert_eq!(seen, u64::from(args.requests));
    let found = baseline(samples.clone(), plan.conversion.is_some(), u64::from(args.concurrency));
    (samples, found)
}

/// Of a hundred requests the server answers every tenth never, every tenth with a 500, and the others after 20 ms; every
/// second of those has converted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baseline_counts_timeouts_as_errors() {
    let count = Arc::new(AtomicU64::new(0));
    let handler = async move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        match number % 10 {
            0 => {
                sleep(BOUND).await;
                StatusCode::OK.into_response()
            }
            5 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => {
                sleep(Duration::from_millis(20)).await;
                let paid = number.is_multiple_of(2);
                axum::Json(json!({ "order": { "paid": paid } })).into_response()
            }
        }
    };
    let url = serve(Router::new().route("/shop", get(handler))).await;
    let (samples, found) = measured(&[
        "--url",
        &url,
        "--requests",
        "100",
        "--concurrency",
        "50",
        "--timeout-ms",
        TIMEOUT_MS,
        "--conversion-json",
        "order.paid",
    ])
    .await;
    let late: Vec<_> = samples.iter().filter(|sample| sample.kind == Kind::TimedOut).collect();
    assert_eq!(late.len(), 10);
    assert!(late.iter().all(|sample| sample.took == Duration::from_secs(15)), "each of exactly 15,000 ms");
    assert_eq!((found.sample_size, found.timeouts, found.concurrency), (100, 10, 50));
    assert!((found.error_rate - 0.2).abs() < 1e-9, "{}", found.error_rate);
    assert!((found.conversion.unwrap() - 0.4).abs() < 1e-9, "{found:?}");
    // sorted[int(100 · .95)] is one of the ten that never came, sorted[50] one that did.
    assert!((found.p95_ms - 15_000.0).abs() < 1e-9 && (found.p99_ms - 15_000.0).abs() < 1e-9, "{found:?}");
    assert!((20.0..15_000.0).contains(&found.p50_ms), "{found:?}");
    Baseline::parse(&json!(found)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_and_their_end_is_no_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            // Ten requests to a connection, and then it is closed without a word.
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..10 {
                    while !seen.ends_with(b"\r\n\r\n") {
                        match stream.read_buf(&mut seen).await {
                            Ok(0) | Err(_) => return,
                            Ok(_) => {}
                        }
                    }
                    seen.clear();
                    let answer = b"HTTP/1.1 200 OK\r\nx-sale: yes\r\ncontent-length: 2\r\n\r\n{}";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let words = ["--url", &url, "--requests", "200", "--concurrency", "4", "--timeout-ms", TIMEOUT_MS];
    let (_, found) = measured(&[&words[..], &["--conversion-header", "x-sale=yes"]].concat()).await;
    assert_eq!((found.error_rate, found.conversion, found.sample_size), (0.0, Some(1.0), 200));
    let connections = accepted.load(Ordering::SeqCst);
    assert!((20..=40).contains(&connections), "{connections} connections for 200 requests");
}

#[tokio::test]
async fn whoever_is_never_answered_has_no_baseline() {
    // A port that nobody listens at, and that nobody else is given.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let error = run(arguments(&["--url", &url, "--requests", "3"])).await.unwrap_err().to_string();
    assert!(error.contains("no request was answered"), "{error}");
    let plane = [
        "--url",
        &url,
        "--plane",
        "http://127.0.0.1:1",
        "--project",
        "p",
        "--environment",
        "e",
        "--flag",
        "f",
    ];
    let mut args = arguments(&plane);
    args.token.token = None;
    let error = run(args).await.unwrap_err().to_string();
    assert!(error.contains("a token is needed"), "before any request: {error}");
}

#[test]
fn a_target_is_named_without_what_may_be_secret() {
    let origin = Origin::of("https://shop.example:8443/cart?key=secret", None).unwrap();
    assert_eq!(target(&origin), "https://shop.example:8443/cart");
}

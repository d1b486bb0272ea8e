//! Measures ingestion: a control plane on SQLite, and clients that deliver batches to it over loopback, in one process.
//!
//! `cargo run --release -p flagfuse-control-plane --example ingest_load -- SECONDS CONNECTIONS EVENTS_PER_S`, where 0 events a
//! second are as many as it takes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_control_plane::clock::{Clock, monotonic};
use flagfuse_control_plane::jobs::ServeOptions;
use flagfuse_control_plane::model::fleet::Fleet;
use flagfuse_control_plane::plane::{self, ControlPlane};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::ids::TenantKey;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

const BATCH: usize = 200;

async fn call(
    router: &axum::Router,
    token: &str,
    method: &str,
    path: &str,
    body: Value,
) -> anyhow::Result<()> {
    let request =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let response = router.clone().oneshot(request.body(Body::from(body.to_string()))?).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), 1 << 20).await?;
    anyhow::ensure!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// A batch: a quarter first exposures, a tenth repeats, three fifths outcomes of known units, the rest usage and unknown units.
fn batch(buffer: u64, seq: u64, now: u64) -> String {
    let unit = |n: u64| format!("user-{buffer}-{n}");
    let first = seq * 50;
    let shown = |n: u64| {
        let unit = unit(n);
        let is_on = Bucket::of("checkout", &unit, COHORT_SEED).get() < 500_000;
        format!("[\"{unit}\",{},0,{}]", u8::from(!is_on), buffer * 1_000 + n % 300)
    };
    let mut units = String::new();
    for n in (first..first + 50).chain(first.saturating_sub(20)..first) {
        let _ = write!(units, "{}{}", if units.is_empty() { "" } else { "," }, shown(n));
    }
    let mut events = String::new();
    for n in 0..130_u64 {
        let who = if n < 120 && first > 0 {
            unit((n * 7_919 + seq * 31) % first)
        } else {
            format!("stranger-{buffer}-{seq}-{n}")
        };
        let metric = ["conversion", "session", "error", "latency_ms", "click"][(n % 5) as usize];
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(
            events,
            "{comma}{{\"id\":\"0198c0de-{buffer:04x}-7000-8000-{seq:06x}{n:06x}\",\"type\":\"outcome\",\"unit\":\"{who}\",\
             \"occurred_ms\":{now},\"metric\":\"{metric}\",\"value\":{}}}",
            n % 90
        );
    }
    format!(
        "{{\"format\":2,\"buffer_id\":\"{buffer:032x}\",\"batch_seq\":{},\"tenant\":\"default\",\"project\":\"demo\",\
         \"environment\":\"production\",\"region\":\"local\",\"requests\":[{{\"received_ms\":{now},\"source\":\"edge\",\
         \"exposures\":[{{\"flag\":\"checkout\",\"phase\":1,\"version\":\"1.3\",\"variations\":[\"on\",\"off\"],\
         \"units\":[{units}]}}]}},{{\"received_ms\":{now},\"source\":\"ticket\",\"network\":{buffer},\"events\":[{events}]}}]}}",
        seq + 1
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let mut next = |default| arguments.next().unwrap_or(default);
    let (seconds, connections, rate) = (next(10), next(24), next(0));
    let dir = tempfile::tempdir()?;
    let tenant = TenantKey::parse("default")?;
    let made = plane::init(dir.path(), &tenant, Clock::System).await?;
    let plane = ControlPlane::open(dir.path(), Clock::System).await?;
    let router = plane.router(Fleet { regions: Vec::new(), shards: 1 });
    let environment = "/v1/projects/demo/environments/production";
    call(&router, &made.admin_token, "POST", "/v1/projects", json!({ "key": "demo" })).await?;
    call(
        &router,
        &made.admin_token,
        "POST",
        "/v1/projects/demo/environments",
        json!({ "key": "production" }),
    )
    .await?;
    let flag = json!({ "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }] });
    call(&router, &made.admin_token, "PUT", &format!("{environment}/flags/checkout"), flag).await?;
    let rail = |metric: &str| json!({ "metric": metric, "direction": "increase_is_harm", "threshold": 50.0 });
    let policy = json!({ "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 50, "control_percent": 50, "grace_s": 0,
        "guardrails": [rail("error"), rail("latency_ms"), rail("conversion")] });
    call(&router, &made.admin_token, "PUT", &format!("{environment}/flags/checkout/fuse"), policy).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = ServeOptions {
        edges: Vec::new(),
        shards: 1,
        tenant,
        push_token: String::new(),
        tick: Duration::from_secs(1),
    };
    let store = plane.store.clone();
    let serving = tokio::spawn(plane.serve(listener, options, async { drop(stopped.await) }));
    let count = Arc::new(AtomicU64::new(0));
    let refused = Arc::new(AtomicU64::new(0));
    let until = monotonic() + Duration::from_secs(seconds);
    let mut clients = tokio::task::JoinSet::new();
    let pause =
        (rate > 0).then(|| Duration::from_secs_f64((BATCH as u64 * connections) as f64 / rate as f64));
    for buffer in 1..=connections {
        let (count, refused, token) = (Arc::clone(&count), Arc::clone(&refused), made.ingest_token.clone());
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut latencies = Vec::new();
            if let Some(pause) = pause {
                tokio::time::sleep(pause.mul_f64(buffer as f64 / connections as f64)).await;
            }
            let mut due = monotonic();
            let mut seq = 0;
            while monotonic() < until {
                let body = batch(buffer, seq, Clock::System.now().0);
                loop {
                    let began = monotonic();
                    let request = Request::post("/v1/ingest").header("host", "localhost");
                    let request = request.header("authorization", format!("Bearer {token}"));
                    let response = sender.send_request(request.body(Body::from(body.clone()))?).await?;
                    let status = response.status();
                    let answer = to_bytes(Body::new(response.into_body()), 1 << 16).await?;
                    if status == 200 {
                        latencies.push(began.elapsed());
                        break;
                    }
                    anyhow::ensure!([429, 503].contains(&status.as_u16()), "{status} {answer:?}");
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                count.fetch_add(BATCH as u64, Ordering::Relaxed);
                seq += 1;
                if let Some(pause) = pause {
                    due += pause;
                    tokio::time::sleep_until(due).await;
                }
            }
            Ok(latencies)
        });
    }
    let mut latencies: Vec<Duration> = Vec::new();
    while let Some(done) = clients.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    let at =
        |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default();
    let total = count.load(Ordering::Relaxed);
    println!(
        "{} events/s, {} batches, {} refused; acknowledged p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        total / seconds,
        latencies.len(),
        refused.load(Ordering::Relaxed),
        at(0.5),
        at(0.99),
        at(0.999),
        latencies.last().copied().unwrap_or_default()
    );
    let balance =
        flagfuse_control_plane::store::quarantine::balance_total(&mut *store.read().await?, "default")
            .await?;
    println!("{balance:?}");
    drop(stop);
    serving.await?;
    Ok(())
}

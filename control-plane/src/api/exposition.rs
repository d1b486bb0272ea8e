//! The two texts in which metrics are told: `OpenMetrics` to whoever asks for it, Prometheus' own text, which everything reads, to
//! everybody else.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The content type of `OpenMetrics` text.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus' own text.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether these headers ask for `OpenMetrics`, as Prometheus itself does.
pub(super) fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named =
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        // A weight of 0 says no.
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
        is_named && weight != Some(0.0)
    })
}

/// `OpenMetrics` text as Prometheus' own. There a counter's name is that of its samples, with `_total`, and neither units nor an
/// end are told.
pub(super) fn prometheus(open_metrics: &str) -> String {
    let kinds = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let counters: BTreeSet<&str> = kinds.filter_map(|kind| kind.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let about =
            ["# HELP ", "# TYPE "].into_iter().find_map(|word| Some((word, line.strip_prefix(word)?)));
        match about.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
            Some((word, (name, rest))) if counters.contains(name) => {
                for part in [word, name, "_total ", rest] {
                    text.push_str(part);
                }
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn open_metrics_is_told_to_whoever_asks_for_it() {
        let asks = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
            }
            wants_open_metrics(&headers)
        };
        // What Prometheus 2 sends.
        assert!(asks(&[
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        ]));
        assert!(asks(&["text/plain", "Application/OpenMetrics-Text"]));
        for values in [&[][..], &["*/*"], &["text/plain"], &["application/openmetrics-text; q=0, text/plain"]]
        {
            assert!(!asks(values), "{values:?}");
        }
    }

    #[test]
    fn counters_have_their_samples_name_and_units_and_the_end_go() {
        let open_metrics = "# HELP f_events Events.\n# TYPE f_events counter\nf_events_total{a=\"b\"} 1\n\
                            # HELP f_lag_seconds How late.\n# TYPE f_lag_seconds gauge\n# UNIT f_lag_seconds seconds\nf_lag_seconds 0.5\n\
                            # EOF\n";
        assert_eq!(
            prometheus(open_metrics),
            "# HELP f_events_total Events.\n# TYPE f_events_total counter\nf_events_total{a=\"b\"} 1\n\
             # HELP f_lag_seconds How late.\n# TYPE f_lag_seconds gauge\nf_lag_seconds 0.5\n"
        );
    }
}

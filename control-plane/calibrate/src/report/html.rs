//! The page: one file that needs nothing else.

use std::fmt::Write as _;

use super::{Found, core_hours, plot, word};
use crate::cell::{Bar, Figure, Kept, share, sorted};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1d2433;background:#fff}\
table{border-collapse:collapse;width:100%}td,th{padding:.5rem .6rem;border-bottom:1px solid #dde;text-align:left;vertical-align:top}\
th{font-weight:600}code{font-size:13px}.what{color:#556;max-width:26rem}.kept{color:#11693b}.unclear{color:#8a5a00}\
.broken{color:#b01224;font-weight:600}.axis{stroke:#ccd}.bounds{stroke:#3459b8;stroke-width:4;stroke-linecap:round}\
.point{fill:#1d2f66}.bar{stroke:#b01224;stroke-dasharray:4 3}.curve{fill:none;stroke:#3459b8;stroke-width:1.6}\
@media(prefers-color-scheme:dark){body{color:#e4e8f2;background:#14181f}td,th{border-color:#334}.what{color:#a9b2c6}\
.kept{color:#6fd39b}.unclear{color:#e9b64d}.broken{color:#ff8591}.axis{stroke:#445}.bounds,.curve{stroke:#86a5ff}\
.point{fill:#c6d4ff}.bar{stroke:#ff8591}}";

/// The whole page.
pub(super) fn page(commit: &str, found: &[Found<'_>]) -> String {
    let count =
        |kept: Kept| found.iter().flat_map(|found| &found.bars).filter(|(_, _, own)| *own == kept).count();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Calibration of the fuse</title><style>{STYLE}</style><h1>Calibration of the fuse</h1>\
         <p>Commit <code>{}</code>, {:.2} core-hours. Bars: {} kept, {} unclear by chance, {} broken beyond their bounds. \
         Bounds are exact, 95 % (2.5 % on either side); dashed lines are bars. A curve shows which part of all launches came to a \
         number or less.</p><table><tr><th>Cell<th>Launches<th>Share that hit<th>Numbers<th>Bars",
        escaped(commit),
        core_hours(found),
        count(Kept::Yes),
        count(Kept::Unclear),
        count(Kept::No),
    );
    for found in found {
        row(&mut page, found);
    }
    page.push_str("</table></html>\n");
    page
}

fn row(page: &mut String, found: &Found<'_>) {
    let cell = found.cell;
    let of_share = share(&found.samples);
    let Figure { value, lower, upper } = of_share;
    let bar = cell.bars.iter().find_map(|bar| match bar {
        Bar::Share { upper, .. } => Some(*upper),
        Bar::AtLeast(least) => Some(*least),
        Bar::Quantile { .. } | Bar::Mean { .. } => None,
    });
    let _ = write!(
        page,
        "<tr><td><code>{}</code><div class=what>{}</div><td>{}<div class=what>{:.1} core-s</div>\
         <td>{:.2} %<div class=what>{:.2} to {:.2}</div>{}<td>",
        escaped(&cell.name),
        escaped(&cell.what),
        found.samples.len(),
        found.core_s,
        value * 100.0,
        lower * 100.0,
        upper * 100.0,
        plot::share(&of_share, bar),
    );
    for (at, name) in cell.numbers.iter().enumerate() {
        let all = sorted(&found.samples, at);
        let of = |p: f64| crate::bounds::quantile(&all, p).map_or(f64::INFINITY, |[value, ..]| value);
        let bar = cell.bars.iter().find_map(|bar| match bar {
            Bar::Quantile { number, at_most, .. } | Bar::Mean { number, at_most } if *number == at => {
                Some(*at_most)
            }
            _ => None,
        });
        let _ = write!(
            page,
            "<div>{}: median {}, 90 % {}</div>{}",
            escaped(name),
            figure(of(0.5)),
            figure(of(0.9)),
            plot::distribution(&all, bar),
        );
    }
    page.push_str("<td>");
    for (bar, of_bar, kept) in &found.bars {
        let _ = write!(
            page,
            "<div class={0}>{1}: {0}<div class=what>{2} ({3} to {4})</div></div>",
            word(*kept),
            escaped(&bar.words(&cell.numbers)),
            figure(of_bar.value),
            figure(of_bar.lower),
            figure(of_bar.upper),
        );
    }
}

/// As people read it.
pub(super) fn figure(value: f64) -> String {
    if !value.is_finite() {
        "never".to_owned()
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

//! Plots as plain SVG: a share with its bounds beside its bar, and how a number is distributed.

use std::fmt::Write as _;

use crate::cell::Figure;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 44.0;

/// A share from 0 to some way behind its bar.
pub(super) fn share(figure: &Figure, bar: Option<f64>) -> String {
    let most = [figure.upper, bar.unwrap_or(0.0)].into_iter().fold(1e-6, f64::max) * 1.15;
    let x = |value: f64| 4.0 + (WIDTH - 8.0) * (value / most).clamp(0.0, 1.0);
    let mut svg = open();
    line(&mut svg, (x(0.0), 22.0), (x(most), 22.0), "axis");
    line(&mut svg, (x(figure.lower), 22.0), (x(figure.upper), 22.0), "bounds");
    let _ = write!(svg, r#"<circle class="point" cx="{:.1}" cy="22" r="4"/>"#, x(figure.value));
    if let Some(bar) = bar {
        line(&mut svg, (x(bar), 6.0), (x(bar), 38.0), "bar");
    }
    svg.push_str("</svg>");
    svg
}

/// The empirical distribution of sorted numbers, up to their last finite one.
#[expect(clippy::cast_precision_loss, reason = "launches")]
pub(super) fn distribution(sorted: &[f64], bar: Option<f64>) -> String {
    let finite: Vec<f64> = sorted.iter().copied().filter(|number| number.is_finite()).collect();
    let Some(last) = finite.last() else { return String::new() };
    let most = last.max(bar.unwrap_or(0.0)).max(1e-9) * 1.05;
    let x = |value: f64| 4.0 + (WIDTH - 8.0) * (value / most).clamp(0.0, 1.0);
    let y = |share: f64| HEIGHT - 4.0 - (HEIGHT - 8.0) * share;
    let mut svg = open();
    line(&mut svg, (x(0.0), y(0.0)), (x(most), y(0.0)), "axis");
    line(&mut svg, (x(0.0), y(0.5)), (x(most), y(0.5)), "axis");
    let mut points = format!("{:.1},{:.1}", x(0.0), y(0.0));
    let stride = finite.len().div_ceil(200);
    for (at, number) in finite.iter().enumerate().step_by(stride) {
        let _ = write!(points, " {:.1},{:.1}", x(*number), y((at + 1) as f64 / sorted.len() as f64));
    }
    let _ = write!(points, " {:.1},{:.1}", x(*last), y(finite.len() as f64 / sorted.len() as f64));
    let _ = write!(svg, r#"<polyline class="curve" points="{points}"/>"#);
    if let Some(bar) = bar {
        line(&mut svg, (x(bar), 2.0), (x(bar), HEIGHT - 2.0), "bar");
    }
    svg.push_str("</svg>");
    svg
}

fn open() -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">"#)
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let _ = write!(
        svg,
        r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

//! What was found, for machines (`report.json`) and for people (`report.html`): figures with their bounds, bars, and what it cost.

mod html;
mod plot;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::bounds::quantile;
use crate::cell::{Bar, Cell, Figure, Kept, Sample, share, sorted};
use crate::journal::Journal;

/// Everything about one cell.
pub struct Found<'c> {
    /// The cell.
    pub cell: &'c Cell,
    /// Its launches.
    pub samples: Vec<Sample>,
    /// Seconds of a processor that they took.
    pub core_s: f64,
    /// Each bar's figure, and whether it is kept.
    pub bars: Vec<(Bar, Figure, Kept)>,
}

/// What a journal holds of these cells; those without a launch are left out.
pub fn found<'c>(cells: &'c [Cell], journal: &Journal) -> Vec<Found<'c>> {
    let each = cells.iter().map(|cell| {
        let (samples, core_s) = journal.samples(&cell.name);
        let judged = |bar: &Bar| bar.figure(&samples).map(|figure| (*bar, figure, bar.kept(&figure)));
        let bars = cell.bars.iter().filter_map(judged).collect();
        Found { cell, samples, core_s, bars }
    });
    each.filter(|found| !found.samples.is_empty()).collect()
}

/// Whether no bar is broken beyond its bound.
pub fn is_kept(found: &[Found<'_>]) -> bool {
    found.iter().flat_map(|found| &found.bars).all(|(_, _, kept)| *kept != Kept::No)
}

/// Writes `report.json` and `report.html`.
pub fn write(folder: &Path, commit: &str, found: &[Found<'_>]) -> Result<()> {
    let document = json!({
        "commit": commit, "core_hours": core_hours(found), "kept": is_kept(found),
        "cells": found.iter().map(Found::json).collect::<Vec<_>>(),
    });
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    put("report.json", format!("{document:#}\n"))?;
    put("report.html", html::page(commit, found))
}

/// Hours of a processor.
pub fn core_hours(found: &[Found<'_>]) -> f64 {
    found.iter().map(|found| found.core_s).sum::<f64>() / 3_600.0
}

const fn word(kept: Kept) -> &'static str {
    match kept {
        Kept::Yes => "kept",
        Kept::Unclear => "unclear",
        Kept::No => "broken",
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl Figure {
    fn json(&self) -> Value {
        json!({ "value": finite(self.value), "lower": finite(self.lower), "upper": finite(self.upper) })
    }
}

impl Found<'_> {
    fn json(&self) -> Value {
        let bars = self.bars.iter().map(|(bar, figure, kept)| {
            json!({ "bar": bar.words(&self.cell.numbers), "figure": figure.json(), "is": word(*kept) })
        });
        let numbers = self.cell.numbers.iter().enumerate().map(|(at, name)| {
            let all = sorted(&self.samples, at);
            let of = |p: f64| quantile(&all, p).and_then(|[value, ..]| finite(value));
            json!({ "name": name, "median": of(0.5), "p10": of(0.1), "p90": of(0.9) })
        });
        json!({
            "cell": self.cell.name, "what": self.cell.what, "launches": self.samples.len(),
            "hits": self.samples.iter().filter(|sample| sample.hit).count(), "share": share(&self.samples).json(),
            "numbers": numbers.collect::<Vec<_>>(), "bars": bars.collect::<Vec<_>>(),
            "seeds": format!("of {:?} and the launch's number", self.cell.name), "core_s": self.core_s,
        })
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let Figure { value, lower, upper } = share(&self.samples);
        let percent = |share: f64| format!("{:.2}", share * 100.0);
        let mut line = format!(
            "{}: {} launches, {} % hit ({} to {})",
            self.cell.name,
            self.samples.len(),
            percent(value),
            percent(lower),
            percent(upper)
        );
        for (bar, figure, kept) in &self.bars {
            let is_share = matches!(bar, Bar::Share { .. } | Bar::AtLeast(_));
            let shown = if is_share { String::new() } else { format!(": {}", html::figure(figure.value)) };
            let _ = write!(line, "; {}{shown} {}", bar.words(&self.cell.numbers), word(*kept));
        }
        line
    }
}

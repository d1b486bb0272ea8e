//! What is done already: batches of launches with their seeds, a line each in `journal.jsonl`. A calibration that is stopped goes on
//! behind them; batches of another program, or of a cell that says something else now, are not taken over.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flagfuse_shared::digest::Digest;
use serde_json::{Value, json};

use crate::cell::{Cell, Sample};
use crate::chance::seed;

/// Launches of a batch.
pub const BATCH: u64 = 20;

/// A batch of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The cell's name.
    pub cell: String,
    /// From 0.
    pub number: u64,
    /// One for each launch.
    pub samples: Vec<Sample>,
    /// What they cost.
    pub core_s: f64,
}

/// The batches of a folder.
#[derive(Debug)]
pub struct Journal {
    file: File,
    program: Digest,
    /// By cell and number.
    done: BTreeMap<(String, u64), Batch>,
}

/// What tells whether a batch is of this cell: what it says of itself.
fn sense(cell: &Cell) -> String {
    format!("{:016x}", seed(&format!("{} {:?}", cell.what, cell.numbers), 0))
}

impl Journal {
    /// Opens the journal of a folder, which is made where it is missing, for the program that adds to it. It goes by the program
    /// and not by the commit: a sentence in a document must not cost five hours.
    pub fn open(folder: &Path, program: Digest, cells: &[Cell]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join("journal.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let senses: BTreeMap<&str, String> =
            cells.iter().map(|cell| (cell.name.as_str(), sense(cell))).collect();
        let mut done = BTreeMap::new();
        for line in text.lines() {
            // The last one may have been cut off.
            let Some(said) = serde_json::from_str(line).ok() else { continue };
            let Some((of_program, of_sense, batch)) = read(&said) else { continue };
            if of_program == program.to_string()
                && senses.get(batch.cell.as_str()).is_some_and(|sense| *sense == of_sense)
            {
                done.insert((batch.cell.clone(), batch.number), batch);
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.with_context(|| format!("opening {}", path.display()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            writeln!(file)?;
        }
        Ok(Self { file, program, done })
    }

    /// Whether a batch is done.
    pub fn has(&self, cell: &str, number: u64) -> bool {
        self.done.contains_key(&(cell.to_owned(), number))
    }

    /// Notes a batch.
    pub fn add(&mut self, cell: &Cell, batch: Batch) -> Result<()> {
        let samples = batch.samples.iter().map(|sample| {
            // JSON has no word for what never came.
            let numbers = sample.numbers.iter().map(|number| number.is_finite().then_some(*number));
            json!([sample.hit, numbers.collect::<Vec<_>>()])
        });
        let line = json!({
            "program": self.program.to_string(), "sense": sense(cell), "cell": batch.cell, "batch": batch.number,
            "first_seed": format!("{:016x}", seed(&cell.name, batch.number * BATCH)),
            "core_s": batch.core_s, "samples": samples.collect::<Vec<_>>(),
        });
        writeln!(self.file, "{line}")?;
        self.done.insert((batch.cell.clone(), batch.number), batch);
        Ok(())
    }

    /// All launches of a cell that are done, in the order of their numbers, up to the first that is missing; and what they cost.
    pub fn samples(&self, cell: &str) -> (Vec<Sample>, f64) {
        let (mut samples, mut core_s) = (Vec::new(), 0.0);
        let mut number = 0;
        while let Some(batch) = self.done.get(&(cell.to_owned(), number)) {
            samples.extend(batch.samples.iter().cloned());
            core_s += batch.core_s;
            number += 1;
        }
        (samples, core_s)
    }
}

fn read(said: &Value) -> Option<(String, String, Batch)> {
    let text = |name: &str| said.get(name)?.as_str().map(str::to_owned);
    let sample = |sample: &Value| {
        let numbers =
            sample.get(1)?.as_array()?.iter().map(|number| number.as_f64().unwrap_or(f64::INFINITY));
        Some(Sample { hit: sample.get(0)?.as_bool()?, numbers: numbers.collect() })
    };
    let samples: Option<Vec<Sample>> = said.get("samples")?.as_array()?.iter().map(sample).collect();
    let batch = Batch {
        cell: text("cell")?,
        number: said.get("batch")?.as_u64()?,
        samples: samples?,
        core_s: said.get("core_s")?.as_f64()?,
    };
    Some((text("program")?, text("sense")?, batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    #[test]
    fn what_the_same_program_did_is_taken_over_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cells = scenarios::named(&[]).unwrap();
        let (cell, other) = (&cells[0], &cells[1]);
        let [old, new] = [b"old", b"new"].map(|text| Digest::of(text));
        let batch = Batch {
            cell: cell.name.clone(),
            number: 0,
            samples: vec![Sample { hit: true, numbers: vec![2.0, f64::INFINITY] }],
            core_s: 1.5,
        };
        Journal::open(folder.path(), old, &cells).unwrap().add(cell, batch.clone()).unwrap();

        let same = Journal::open(folder.path(), old, &cells).unwrap();
        assert_eq!(same.samples(&cell.name), (batch.samples, 1.5));
        assert!(!same.has(&other.name, 0));
        assert!(!Journal::open(folder.path(), new, &cells).unwrap().has(&cell.name, 0));
    }

    #[test]
    fn a_line_that_was_cut_off_is_done_again_and_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let cells = scenarios::named(&[]).unwrap();
        let program = Digest::of(b"program");
        let batch = |number| Batch { cell: cells[0].name.clone(), number, samples: Vec::new(), core_s: 0.0 };
        let mut journal = Journal::open(folder.path(), program, &cells).unwrap();
        journal.add(&cells[0], batch(0)).unwrap();
        journal.add(&cells[0], batch(1)).unwrap();
        drop(journal);
        let path = folder.path().join("journal.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();

        let mut journal = Journal::open(folder.path(), program, &cells).unwrap();
        assert!(journal.has(&cells[0].name, 0));
        assert!(!journal.has(&cells[0].name, 1));
        journal.add(&cells[0], batch(1)).unwrap();
        assert!(Journal::open(folder.path(), program, &cells).unwrap().has(&cells[0].name, 1));
    }
}

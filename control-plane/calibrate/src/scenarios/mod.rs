//! The grid of situations, in the order of their worth.

mod classic;
mod harm;
mod healthy;
mod heard;
mod kinds;
mod policies;
mod probes;
mod ramp;
mod ratio;
mod revenue;
mod sentinel;

pub use self::policies::{Watch, five, one};

use anyhow::{Result, bail};

use crate::cell::Cell;

/// All of them. Those that the bars are about first.
pub fn cells() -> Result<Vec<Cell>> {
    let groups = [
        healthy::cells()?,
        ramp::cells()?,
        kinds::cells()?,
        harm::cells()?,
        probes::cells()?,
        revenue::cells()?,
        ratio::cells()?,
        heard::cells()?,
        sentinel::cells()?,
        classic::cells()?,
    ];
    Ok(groups.into_iter().flatten().collect())
}

/// Three of them with launches so short that unoptimised tests have time for some hundred.
pub fn short() -> Result<Vec<Cell>> {
    let mut cells = healthy::short()?;
    cells.push(ramp::by_time(8)?);
    Ok(cells)
}

/// Those whose names begin with one of `names`; all where there is none.
pub fn named(names: &[String]) -> Result<Vec<Cell>> {
    let mut all = cells()?;
    if let Some(unknown) =
        names.iter().find(|name| !all.iter().any(|cell| cell.name.starts_with(name.as_str())))
    {
        let known: Vec<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        bail!("no cell's name begins with {unknown:?}; there are {}", known.join(", "));
    }
    all.retain(|cell| names.is_empty() || names.iter().any(|name| cell.name.starts_with(name.as_str())));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found_by_their_beginnings() {
        let all = cells().unwrap();
        let names: BTreeSet<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert!(named(&["aa-".to_owned()]).unwrap().len() > 9);
        assert!(named(&["nothing".to_owned()]).is_err());
        for cell in &all {
            let numbers: BTreeSet<&str> = cell.numbers.iter().copied().collect();
            assert_eq!(numbers.len(), cell.numbers.len(), "{}", cell.name);
        }
    }
}

//! Cohorts: ranges of buckets with an arm and a phase, ascending and without overlap.

use super::{Finder, FlagFault, check_count, check_text, out_of_range};
use crate::bucket::{COHORT_SEED, Salted};
use crate::context::AttributeName;
use crate::definition::{CohortWire, DimensionWire};
use crate::flag::{Cohort, CohortSlice, Dimension, Withheld};
use crate::limits::{BUCKET_COUNT, COHORT_SLICE_COUNT_MAX, DIMENSION_COUNT_MAX, DIMENSION_VALUE_COUNT_MAX};

pub(super) fn compile_cohort<T: AsRef<str>>(
    wire: &CohortWire<T>,
    salt: &str,
    find: &Finder<'_>,
) -> Result<Cohort, FlagFault> {
    check_count("cohort.slices", wire.slices.len(), COHORT_SLICE_COUNT_MAX)?;
    let mut slices = Vec::with_capacity(wire.slices.len());
    let mut free_from = 0;
    for slice in &wire.slices {
        if slice.from < free_from || slice.from >= slice.to || slice.to > BUCKET_COUNT {
            let found = format!("[{}, {})", slice.from, slice.to);
            let allowed = format!("ascending ranges without overlap within [0, {BUCKET_COUNT})");
            return Err(out_of_range("cohort.slices", found, allowed));
        }
        free_from = slice.to;
        let variation = find.index("cohort.slices.variation", slice.variation.as_ref())?;
        let phase = slice.phase.unwrap_or(wire.phase);
        if phase > wire.phase {
            return Err(out_of_range(
                "cohort.slices.phase",
                phase,
                format!("at most the cohort's phase, {}", wire.phase),
            ));
        }
        let enrols = (!slice.unenrolled).then_some((slice.arm, phase));
        slices.push(CohortSlice { from: slice.from, to: slice.to, variation, enrols });
    }
    if let Some(own) = &wire.salt {
        check_text("cohort.salt", own.as_ref())?;
    }
    let salt = wire.salt.as_ref().map_or(salt, AsRef::as_ref);
    let withheld = match &wire.withheld {
        None => None,
        Some(withheld) => Some(Withheld {
            variation: find.index("cohort.withheld.variation", withheld.variation.as_ref())?,
            instead: find.index("cohort.withheld.instead", withheld.instead.as_ref())?,
        }),
    };
    let (salt, phase, units) = (Salted::new(salt, COHORT_SEED), wire.phase, wire.units);
    Ok(Cohort { salt, phase, slices, withheld, dimensions: compile_dimensions(wire)?, units })
}

fn compile_dimensions<T: AsRef<str>>(wire: &CohortWire<T>) -> Result<Box<[Dimension]>, FlagFault> {
    check_count("cohort.dimensions", wire.dimensions.len(), DIMENSION_COUNT_MAX)?;
    let compile = |dimension: &DimensionWire<T>| {
        check_count("cohort.dimensions.values", dimension.values.len(), DIMENSION_VALUE_COUNT_MAX)?;
        check_text("cohort.dimensions.attribute", dimension.attribute.as_ref())?;
        Ok(Dimension {
            attribute: AttributeName::new(dimension.attribute.as_ref()),
            values: dimension.values.iter().map(|value| value.as_ref().into()).collect(),
        })
    };
    wire.dimensions.iter().map(compile).collect()
}

//! Statistics, one method per file. Pure: counts in, numbers out; never a database, never a clock.
//!
//! Each file names its paper, its equation, what it assumes and what it guarantees. All of it computes the same bits on every
//! machine (`classic` and `ratio`, which decide nothing by a hair, ask the platform's logarithm). State is plain numbers that
//! the caller stores; whatever was stored is checked before it is used, and a refusal changes nothing.
//!
//! | what is asked | file |
//! |---|---|
//! | does the feature harm a share of units | `block` → `grid` (`kernel`) → `mixture`, with `estimate` as the gate |
//! | … the latency, a value per unit, a limit | `exceedance`, `values`, `absolute` |
//! | is the harm gone, which harm is excluded | `control_rate` → `recovery`, `certificate`; under a limit `allowed` |
//! | did it begin after the promotion | `sentinel` |
//! | can the arms be compared at all | `srm`, `guard`, `ratio` |
//! | from which evidence on | `budget`, for lists `ebh` |
//! | how much, and how many units it takes | `estimate`, `interval`, `power` |
//! | what the write-ups decided | `classic` |

pub mod absolute;
pub mod allowed;
pub mod bins;
pub mod block;
pub mod budget;
pub mod certificate;
pub mod classic;
pub mod control_rate;
pub mod ebh;
pub mod estimate;
pub mod exceedance;
pub mod grid;
pub mod guard;
pub mod interval;
pub mod kernel;
mod math;
pub mod mixture;
pub mod power;
pub mod ratio;
pub mod recovery;
mod refusal;
pub mod sentinel;
pub mod srm;
pub mod values;

pub use refusal::Refused;

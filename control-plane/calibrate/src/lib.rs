//! Calibration of the fuse: launches in virtual time, event by event, through the code that runs in production, and what becomes of
//! them again and again. No cell is made up and no statistic is written twice.

pub mod bounds;
pub mod cell;
pub mod chance;
pub mod clock;
pub mod journal;
pub mod peeking;
pub mod plane;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod setting;
pub mod traffic;

mod arm;
mod attempt;
mod figures;

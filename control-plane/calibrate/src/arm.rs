//! An arm as cells have it, in the word of everybody else.

use flagfuse_cells::Arm as CellArm;
use flagfuse_shared::definition::Arm;

/// The same arm.
pub(crate) const fn shared_arm(arm: CellArm) -> Arm {
    match arm {
        CellArm::Exposed => Arm::Exposed,
        CellArm::Control => Arm::Control,
    }
}

//! The calibration held to what it is for: its plane is the control plane, bit for bit, and the cases that the fuse was accepted by.

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod played;
#[cfg(test)]
mod world;

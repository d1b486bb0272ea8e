//! Records at fixed places.

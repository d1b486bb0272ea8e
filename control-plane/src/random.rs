//! The only source of random bytes; keys, token secrets and jitter come from here.

/// 32 bytes from the system.
pub fn bytes_32() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Between 0 and `ms_max` inclusive, for jitter only: without a source of chance it is `ms_max`.
pub fn jitter_ms(ms_max: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) % ms_max.saturating_add(1),
        Err(_) => ms_max,
    }
}

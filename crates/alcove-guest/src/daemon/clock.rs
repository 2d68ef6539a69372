//! The guest's clock. It stands still while the machine is suspended, so the host sets it on every resume.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use alcove_guest::sys;

/// Differences below this are not worth a jump.
const TOLERATED_MS: i64 = 50;

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Sets the clock to the host's. Returns how far it was off, guest minus host, in milliseconds.
pub(super) fn set(unix_time_ns: u64) -> io::Result<i64> {
    let offset = offset_ms(now_ns(), unix_time_ns);
    if offset.abs() >= TOLERATED_MS {
        sys::set_clock(unix_time_ns)?;
    }
    Ok(offset)
}

fn offset_ms(guest_ns: u64, host_ns: u64) -> i64 {
    i64::try_from((i128::from(guest_ns) - i128::from(host_ns)) / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::offset_ms;

    #[test]
    fn the_offset_has_a_sign() {
        assert_eq!(offset_ms(3_000_000, 1_000_000), 2);
        assert_eq!(offset_ms(1_000_000, 3_000_000), -2);
        assert_eq!(offset_ms(0, u64::MAX), -18_446_744_073_709);
    }
}

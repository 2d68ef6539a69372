//! Kubernetes' quantities: `250m`, `1.5Gi`, `123456789n`, `2e3`.

/// A quantity of processors in thousandths, rounded up as Kubernetes does; `None` when it is none.
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
    scaled(text, 1_000)
}

/// A quantity of memory or disk in bytes; `None` when it is none.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, 1)
}

/// Exact in whole numbers: value × scale, rounded up.
fn scaled(text: &str, scale: u128) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() + fraction.len() > 24 {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (times, by) = factor(suffix)?;
    let over = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(by)?;
    let value = mantissa.checked_mul(times)?.checked_mul(scale)?;
    u64::try_from(value.div_ceil(over)).ok()
}

/// A suffix as a fraction.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let power = |base: u128, n: u32| Some((base.pow(n), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.abs() <= 18)?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        for (text, expected) in [
            ("2", Some(2000)),
            ("250m", Some(250)),
            ("1.5", Some(1500)),
            ("0.1", Some(100)),
            ("123456789n", Some(124)),
            ("1500u", Some(2)),
            ("0", Some(0)),
            ("", None),
            ("m", None),
            (".", None),
            ("-1", None),
            ("1x", None),
            ("1 2", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn memory() {
        for (text, expected) in [
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("123Mi", Some(123 * 1024 * 1024)),
            ("1.5Gi", Some(1_610_612_736)),
            ("3975552Ki", Some(3_975_552 * 1024)),
            ("2e3", Some(2000)),
            ("2E3", Some(2000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("5e-1", Some(1)),
            ("1e99", None),
            ("16Ei", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}

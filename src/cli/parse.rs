//! Values of arguments.

use std::time::Duration;

/// Parses `90s`, `30m`, `1h` and `2d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let help = || format!("{text:?} is no duration; write for example 90s, 30m, 1h or 2d");
    let unit = text.chars().last().ok_or_else(help)?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| help())?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(help()),
    };
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(help)
}

/// Parses `Name: value`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    text.split_once(':')
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| format!("{text:?} is no header; write \"Name: value\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_name_their_unit() {
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for text in ["", "5", "h", "-1s", "5y", "99999999999999999999s", "5é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

//! Values of arguments.

use std::time::Duration;

use feria_paywall::amount::{Msat, Sat};

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

/// Parses an amount of ecash: whole satoshi above 0, such as `21sat`.
pub(super) fn sat(text: &str) -> Result<Sat, String> {
    let amount: Msat = text
        .parse()
        .map_err(|error: feria_paywall::amount::ParseAmountError| error.to_string())?;
    if amount == Msat::ZERO {
        return Err("an amount is above 0".to_owned());
    }
    if amount.floor_sat() != amount.ceil_sat() {
        return Err(format!("{text:?} is not a whole number of sat"));
    }
    Ok(amount.floor_sat())
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

    #[test]
    fn ecash_is_whole_satoshi() {
        assert_eq!(sat("21sat"), Ok(Sat::new(21)));
        assert_eq!(sat("2000msat"), Ok(Sat::new(2)));
        for text in ["", "21", "0sat", "1500msat", "-1sat", "1btc"] {
            assert!(sat(text).is_err(), "{text}");
        }
    }
}

//! Prices as listings write them, made comparable.
//!
//! The same tag means different things in different kinds; a dialect says which
//! values are amount and currency, this module says what they are worth. Nothing
//! is guessed: what is not plainly bitcoin stays text.

use feria_paywall::amount::Msat;

use super::text;

/// 21,000 bitcoin; no call costs that.
const MAX_PRICE_MSAT: u64 = 2_100_000_000_000_000;
/// Longer numbers than this are not prices.
const MAX_AMOUNT_CHARS: usize = 32;
/// What is kept of a price's own words.
const MAX_TEXT_CHARS: usize = 64;

/// The price of one call, as far as a listing says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPrice {
    /// What it is in bitcoin; a fraction of a millisatoshi rounds up.
    pub msat: Result<Msat, PriceFault>,
    /// The listing's own words.
    pub text: String,
}

/// Why a price cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PriceFault {
    /// The listing names none.
    #[error("no price is named")]
    Missing,
    /// It is in a currency that has no fixed value in bitcoin, or in none.
    #[error("the price is not in bitcoin")]
    Currency,
    /// It is negative, not a plain decimal number, or a range.
    #[error("the price is not a plain decimal number")]
    Malformed,
    /// It is above 21,000 bitcoin.
    #[error("the price is absurdly high")]
    TooHigh,
}

impl PriceFault {
    /// Returns whether an honest seller would not have written this.
    #[must_use]
    pub const fn is_absurd(self) -> bool {
        matches!(self, Self::Malformed | Self::TooHigh)
    }
}

impl ListedPrice {
    /// Returns the price of a listing that names none.
    #[must_use]
    pub const fn missing() -> Self {
        Self {
            msat: Err(PriceFault::Missing),
            text: String::new(),
        }
    }
}

/// Reads `amount` in `currency`: `sat`, `sats`, `satoshi`, `satoshis`, `msat`,
/// `msats` or `btc`, in any case.
#[must_use]
pub fn parse_price(amount: &str, currency: &str) -> ListedPrice {
    let (amount, currency) = (amount.trim(), currency.trim());
    ListedPrice {
        msat: parse_msat(amount, currency),
        text: text::clean(&format!("{amount} {currency}"), MAX_TEXT_CHARS),
    }
}

fn parse_msat(amount: &str, currency: &str) -> Result<Msat, PriceFault> {
    // How many decimals down to a millisatoshi.
    let decimals = match currency.to_ascii_lowercase().as_str() {
        "msat" | "msats" => 0,
        "sat" | "sats" | "satoshi" | "satoshis" => 3,
        "btc" => 11,
        _ => return Err(PriceFault::Currency),
    };
    if amount.len() > MAX_AMOUNT_CHARS {
        return Err(PriceFault::TooHigh);
    }
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let is_number = !whole.is_empty()
        && (fraction.is_empty() != amount.contains('.'))
        && whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit());
    if !is_number {
        return Err(PriceFault::Malformed);
    }
    let mut value: u128 = whole.parse().map_err(|_| PriceFault::TooHigh)?;
    for place in 0..decimals {
        let digit = fraction.as_bytes().get(place).map_or(0, |b| b - b'0');
        value = value * 10 + u128::from(digit);
    }
    let is_inexact = fraction.bytes().skip(decimals).any(|b| b != b'0');
    value += u128::from(is_inexact);
    u64::try_from(value)
        .ok()
        .filter(|msat| *msat <= MAX_PRICE_MSAT)
        .map(Msat::new)
        .ok_or(PriceFault::TooHigh)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(amount: &str, currency: &str, expected: Result<u64, PriceFault>) {
        let found = parse_price(amount, currency).msat.map(Msat::as_u64);
        assert_eq!(found, expected, "{amount} {currency}");
    }

    #[test]
    fn bitcoin_units_are_normalised() {
        check("21", "SAT", Ok(21_000));
        check("21", "sats", Ok(21_000));
        check("21", "SATS", Ok(21_000));
        check("21", "satoshis", Ok(21_000));
        check(" 21 ", " Satoshi ", Ok(21_000));
        check("1500", "msat", Ok(1_500));
        check("1500", "msats", Ok(1_500));
        check("0.00000021", "btc", Ok(21_000));
        check("0.00000021", "BTC", Ok(21_000));
        check("0.5", "sat", Ok(500));
        check("0", "sat", Ok(0));
        check("0.0001", "sat", Ok(1));
        check("2100000000000", "sat", Ok(2_100_000_000_000_000));
    }

    #[test]
    fn other_currencies_stay_text() {
        check("2", "USD", Err(PriceFault::Currency));
        check("2", "", Err(PriceFault::Currency));
        check("2", "sa", Err(PriceFault::Currency));
        assert_eq!(parse_price("2.50", "USD").text, "2.50 USD");
    }

    #[test]
    fn absurd_prices_have_no_value() {
        for amount in [
            "-1", "+1", "NaN", "inf", "1e3", "1E3", "0x10", "1,000", "1_000", "100-1000", "", ".5",
            "5.", ".", "1.2.3", "١",
        ] {
            check(amount, "sat", Err(PriceFault::Malformed));
        }
        check("2100000000001", "sat", Err(PriceFault::TooHigh));
        check("21000.00000000001", "btc", Err(PriceFault::TooHigh));
        check(
            "99999999999999999999999999999999",
            "sat",
            Err(PriceFault::TooHigh),
        );
        check(&"9".repeat(10_000), "msat", Err(PriceFault::TooHigh));
        assert!(parse_price(&"9".repeat(10_000), "msat").text.len() <= 64);
    }

    proptest! {
        #[test]
        fn no_price_panics(amount in ".*", currency in "(sat|msat|btc|usd|.*)") {
            let price = parse_price(&amount, &currency);
            prop_assert!(price.msat.map_or(0, Msat::as_u64) <= MAX_PRICE_MSAT);
        }

        #[test]
        fn a_whole_number_of_msat_is_kept(msat in 0..=MAX_PRICE_MSAT) {
            prop_assert_eq!(parse_price(&msat.to_string(), "msat").msat, Ok(Msat::new(msat)));
        }
    }
}

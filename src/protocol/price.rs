//! Prices as listings write them, made comparable.
//!
//! The same tag means different things in different kinds; a dialect says which
//! values are amount, currency and unit and where they stood, this module says
//! what they are worth. Nothing is guessed: what is not plainly bitcoin for one
//! call stays text, with the reason.
//!
//! | written | becomes |
//! |---|---|
//! | `sat`, `sats`, `satoshi`, `satoshis`, in any case | 1,000 msat |
//! | `msat`, `msats` | 1 msat |
//! | `btc` | 10^11 msat |
//! | `usd` in kind 31402 | cents, shown as dollars, no value in bitcoin |
//! | any other currency | shown as it is, no value in bitcoin |
//! | a range (`cap` tags only) | its upper end, the lower one noted |
//! | for a month, a word, 1,000 tokens | no price of one call |
//! | negative, exponent, NaN, above 21,000 BTC | no price |

use feria_paywall::amount::Msat;

use super::text;

/// 21,000 bitcoin; no call costs that.
const MAX_PRICE_MSAT: u64 = 2_100_000_000_000_000;
/// Longer numbers than this are not prices.
const MAX_AMOUNT_CHARS: usize = 32;
/// What is kept of a price's own words.
const MAX_TEXT_CHARS: usize = 64;
/// Units that mean one call, as listings of all dialects write them.
const ONE_CALL: &[&str] = &[
    "", "call", "calls", "request", "requests", "use", "free", "item", "unit", "job",
];

/// The price of one call, as far as a listing says it, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPrice {
    /// What it is in bitcoin; a fraction of a millisatoshi rounds up.
    pub msat: Result<Msat, PriceFault>,
    /// The listing's own words.
    pub text: String,
    /// The tag or the member of the content that says it; empty when none does.
    pub source: &'static str,
    /// In another currency, such as `2.50 USD`. `None` when it is in bitcoin, or in nothing known.
    pub fiat: Option<String>,
    /// What else the listing says about the price, and was not taken.
    pub doubt: Option<String>,
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
    /// It is for a time, an amount of text or tokens, or several calls.
    #[error("the price is not for one call")]
    Unit,
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
        Self::of(Err(PriceFault::Missing), String::new())
    }

    const fn of(msat: Result<Msat, PriceFault>, text: String) -> Self {
        Self {
            msat,
            text,
            source: "",
            fiat: None,
            doubt: None,
        }
    }

    /// Returns the price with `source`, the tag or the member of the content that says it.
    #[must_use]
    pub const fn said_in(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// Returns the price as one for each `unit`; no price of a call unless that is one call.
    #[must_use]
    pub fn per(mut self, unit: &str) -> Self {
        let unit = unit.trim().to_ascii_lowercase();
        let name = unit.strip_prefix("per").unwrap_or(&unit);
        let name = name.trim_start_matches(['-', '_', ' ']);
        if ONE_CALL.contains(&name) {
            return self;
        }
        self.text = text::clean(&format!("{} per {name}", self.text), MAX_TEXT_CHARS);
        self.fiat = self
            .fiat
            .map(|fiat| text::clean(&format!("{fiat} per {name}"), MAX_TEXT_CHARS));
        self.msat = self.msat.and(Err(PriceFault::Unit));
        self
    }

    /// Returns the price with what contradicts it in the same listing.
    #[must_use]
    pub fn doubted(mut self, doubt: &str) -> Self {
        self.doubt = Some(text::clean(doubt, MAX_TEXT_CHARS));
        self
    }

    /// Returns why there is no price in bitcoin, or what contradicts it.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self.msat {
            // A listing without a price is not a fault: the 402 names it.
            Err(PriceFault::Missing) | Ok(_) => self.doubt.clone(),
            Err(fault) => Some(fault.to_string()),
        }
    }
}

/// Reads `amount` in `currency`: `sat`, `sats`, `satoshi`, `satoshis`, `msat`,
/// `msats` or `btc`, in any case.
#[must_use]
pub fn parse_price(amount: &str, currency: &str) -> ListedPrice {
    let (amount, currency) = (amount.trim(), currency.trim());
    let words = text::clean(&format!("{amount} {currency}"), MAX_TEXT_CHARS);
    let mut price = ListedPrice::of(parse_msat(amount, currency), words);
    if price.msat == Err(PriceFault::Currency) && is_currency(currency) && is_number(amount) {
        price.fiat = Some(format!("{amount} {}", currency.to_ascii_uppercase()));
    }
    price
}

/// Reads a price of kind 31402, where dollars are written as whole cents.
#[must_use]
pub fn parse_price_in_cents(amount: &str, currency: &str) -> ListedPrice {
    let mut price = parse_price(amount, currency);
    if price.fiat.is_some() && currency.trim().eq_ignore_ascii_case("usd") {
        price.fiat = Some(format!("{} USD", hundredths(amount.trim())));
    }
    price
}

/// Reads a price that may be a range `<min>-<max>`. The upper end counts: the
/// seller may ask it for any call.
#[must_use]
pub fn parse_price_or_range(amount: &str, currency: &str) -> ListedPrice {
    let ends = amount.trim().split_once('-');
    let Some((low, high)) = ends.filter(|(low, high)| is_number(low) && is_number(high)) else {
        return parse_price(amount, currency);
    };
    let (low, mut price) = (parse_price(low, currency), parse_price(high, currency));
    if price.msat.is_ok() && low.msat.unwrap_or_default() > price.msat.unwrap_or_default() {
        price.msat = Err(PriceFault::Malformed);
    }
    let doubt = format!("a range that begins at {}", low.text);
    price.text = text::clean(
        &format!("{} {}", amount.trim(), currency.trim()),
        MAX_TEXT_CHARS,
    );
    price.doubted(&doubt)
}

/// How many decimals there are from one of `currency` down to a millisatoshi; `None` for what is not bitcoin.
fn decimals_of(currency: &str) -> Option<usize> {
    match currency.to_ascii_lowercase().as_str() {
        "msat" | "msats" => Some(0),
        "sat" | "sats" | "satoshi" | "satoshis" => Some(3),
        "btc" => Some(11),
        _ => None,
    }
}

fn parse_msat(amount: &str, currency: &str) -> Result<Msat, PriceFault> {
    let decimals = decimals_of(currency).ok_or(PriceFault::Currency)?;
    if amount.len() > MAX_AMOUNT_CHARS {
        return Err(PriceFault::TooHigh);
    }
    if !is_number(amount) {
        return Err(PriceFault::Malformed);
    }
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
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

/// Returns whether `text` is a plain decimal number of a length that is read.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    text.len() <= MAX_AMOUNT_CHARS
        && !whole.is_empty()
        && (fraction.is_empty() != text.contains('.'))
        && whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
}

/// Returns whether `text` may be the code of a currency, as ISO 4217 and its imitators have them.
fn is_currency(text: &str) -> bool {
    (3..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Returns a plain decimal number divided by 100.
fn hundredths(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let padded = format!("{whole:0>3}");
    let (units, cents) = padded.split_at(padded.len() - 2);
    format!("{units}.{cents}{fraction}")
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

    #[test]
    fn dollars_of_paid_services_are_cents() {
        for (amount, expected) in [
            ("250", "2.50 USD"),
            ("5", "0.05 USD"),
            ("0", "0.00 USD"),
            ("12345", "123.45 USD"),
            ("2.5", "0.025 USD"),
        ] {
            let price = parse_price_in_cents(amount, "usd");
            assert_eq!(price.fiat.as_deref(), Some(expected));
            assert_eq!(price.text, format!("{amount} usd"), "its own words stay");
            assert_eq!(price.msat, Err(PriceFault::Currency));
        }
        assert_eq!(parse_price_in_cents("-5", "usd").fiat, None);
        assert_eq!(parse_price_in_cents("5", "sat").msat, Ok(Msat::new(5_000)));
        let euros = parse_price_in_cents("5", "EUR");
        assert_eq!(
            euros.fiat.as_deref(),
            Some("5 EUR"),
            "only usd is known to be cents"
        );
        assert_eq!(parse_price("2.50", "usd").fiat.as_deref(), Some("2.50 USD"));
        assert_eq!(parse_price("2", "a dollar").fiat, None);
    }

    #[test]
    fn a_range_counts_with_its_upper_end() {
        let price = parse_price_or_range("100-1000", "sats");
        assert_eq!(price.msat, Ok(Msat::new(1_000_000)));
        assert_eq!(price.text, "100-1000 sats");
        assert_eq!(
            price.note().as_deref(),
            Some("a range that begins at 100 sats")
        );
        for amount in ["1000-100", "-5", "5-", "1-2-3", "--"] {
            let price = parse_price_or_range(amount, "sats");
            assert_eq!(price.msat, Err(PriceFault::Malformed), "{amount}");
        }
        assert_eq!(parse_price_or_range("7", "sats").msat, Ok(Msat::new(7_000)));
    }

    #[test]
    fn a_price_for_something_else_than_a_call_is_none() {
        for unit in ["request", "per-request", "Per_Call", "", "call", "free"] {
            let price = parse_price("21", "sat").per(unit);
            assert_eq!(
                (price.msat, price.text.as_str()),
                (Ok(Msat::new(21_000)), "21 sat")
            );
        }
        for unit in ["month", "per-token", "word", "M", "1k-tokens"] {
            let price = parse_price("21", "sat").per(unit);
            assert_eq!(price.msat, Err(PriceFault::Unit), "{unit}");
            assert_eq!(
                price.note().as_deref(),
                Some("the price is not for one call")
            );
        }
        assert_eq!(
            parse_price("21", "sat").per("per-month").text,
            "21 sat per month"
        );
        let worse = parse_price("-21", "sat").per("month");
        assert_eq!(
            worse.msat,
            Err(PriceFault::Malformed),
            "the first fault is kept"
        );
    }

    proptest! {
        #[test]
        fn no_price_panics(amount in ".*", currency in "(sat|msat|btc|usd|.*)") {
            let price = parse_price(&amount, &currency);
            prop_assert!(price.msat.map_or(0, Msat::as_u64) <= MAX_PRICE_MSAT);
            for price in [
                parse_price_in_cents(&amount, &currency),
                parse_price_or_range(&amount, &currency).per(&currency),
            ] {
                prop_assert!(price.msat.map_or(0, Msat::as_u64) <= MAX_PRICE_MSAT);
                prop_assert!(price.text.chars().count() <= MAX_TEXT_CHARS);
            }
        }

        #[test]
        fn a_whole_number_of_msat_is_kept(msat in 0..=MAX_PRICE_MSAT) {
            prop_assert_eq!(parse_price(&msat.to_string(), "msat").msat, Ok(Msat::new(msat)));
        }
    }
}

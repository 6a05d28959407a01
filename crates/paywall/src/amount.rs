//! Amounts of bitcoin, with the unit in the type.
//!
//! Prices are kept in millisatoshi, as Lightning does. Ecash and invoices move
//! whole satoshi and are always rounded *up* from a price, so that a payment
//! made for the amount asked is never refused for the fraction.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Millisatoshi in one satoshi.
const MSAT_PER_SAT: u64 = 1_000;
/// 21 million bitcoin in millisatoshi: no amount in the field is larger.
pub const MAX_MSAT: u64 = 21_000_000 * 100_000_000 * MSAT_PER_SAT;

/// An amount in millisatoshi.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Msat(u64);

/// An amount in whole satoshi.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sat(u64);

impl Msat {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Returns `amount` millisatoshi.
    #[must_use]
    pub const fn new(amount: u64) -> Self {
        Self(amount)
    }

    /// Returns the number of millisatoshi.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the number of millisatoshi as SQL and postings store it.
    /// Saturates far above [`MAX_MSAT`].
    #[must_use]
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// Returns the fewest whole satoshi that cover this amount.
    #[must_use]
    pub const fn ceil_sat(self) -> Sat {
        Sat(self.0.div_ceil(MSAT_PER_SAT))
    }

    /// Returns the whole satoshi in this amount, fraction dropped.
    #[must_use]
    pub const fn floor_sat(self) -> Sat {
        Sat(self.0 / MSAT_PER_SAT)
    }

    /// Adds, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Subtracts, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Adds, stopping at the largest value.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts, stopping at zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sat {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Returns `amount` satoshi.
    #[must_use]
    pub const fn new(amount: u64) -> Self {
        Self(amount)
    }

    /// Returns the number of satoshi.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the same amount in millisatoshi, stopping at the largest value.
    #[must_use]
    pub const fn to_msat(self) -> Msat {
        Msat(self.0.saturating_mul(MSAT_PER_SAT))
    }

    /// Adds, stopping at the largest value.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts, stopping at zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Sat> for Msat {
    fn from(sat: Sat) -> Self {
        sat.to_msat()
    }
}

impl Sum for Msat {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

impl Sum for Sat {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Prints whole satoshi as `21 sat`, anything else as `1500 msat`.
impl fmt::Display for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(MSAT_PER_SAT) {
            write!(f, "{} sat", self.0 / MSAT_PER_SAT)
        } else {
            write!(f, "{} msat", self.0)
        }
    }
}

impl fmt::Display for Sat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sat", self.0)
    }
}

/// An amount that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// No unit was named; a bare number could be satoshi or millisatoshi.
    #[error("amount {0:?} names no unit; write for example \"21sat\" or \"1500msat\"")]
    MissingUnit(String),
    /// The number is missing, negative, fractional or above 21 million bitcoin.
    #[error("amount {0:?} is not a whole number of sat or msat up to 21 million bitcoin")]
    BadNumber(String),
}

/// Parses `21sat`, `21 sats` and `1500msat`, in any case.
impl FromStr for Msat {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (unit, number) = (&trimmed[digits.len()..], digits.trim_end());
        let factor = match unit.to_ascii_lowercase().as_str() {
            "msat" | "msats" => 1,
            "sat" | "sats" => MSAT_PER_SAT,
            "" if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => {
                return Err(ParseAmountError::MissingUnit(text.to_owned()));
            }
            _ => return Err(ParseAmountError::BadNumber(text.to_owned())),
        };
        // `u64::from_str` takes a leading plus sign; an amount has no sign.
        let value = (!number.starts_with('+'))
            .then(|| number.parse::<u64>().ok())
            .flatten()
            .and_then(|value| value.checked_mul(factor))
            .filter(|value| *value <= MAX_MSAT)
            .ok_or_else(|| ParseAmountError::BadNumber(text.to_owned()))?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, &str>) {
        let found = text.parse::<Msat>().map(Msat::as_u64);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn amounts_name_their_unit() {
        check("21sat", Ok(21_000));
        check(" 21 SATS ", Ok(21_000));
        check("1500msat", Ok(1_500));
        check("21", Err("names no unit"));
        check("-1sat", Err("not a whole number"));
        check("+1sat", Err("not a whole number"));
        check("1.5sat", Err("not a whole number"));
        check("2100000000000001sat", Err("not a whole number"));
        check("sat", Err("not a whole number"));
        check("5btc", Err("not a whole number"));
    }

    #[test]
    fn a_fraction_rounds_up_when_paid() {
        assert_eq!(Msat::new(1_500).ceil_sat(), Sat::new(2));
        assert_eq!(Msat::new(1_500).floor_sat(), Sat::new(1));
        assert_eq!(Msat::new(1_500).to_string(), "1500 msat");
        assert_eq!(Msat::new(2_000).to_string(), "2 sat");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_prints_what_it_parses(
            text in prop_oneof!["\\PC{0,20}", "[0-9+-]{0,20} {0,2}m?sats?"]
        ) {
            if let Ok(amount) = text.parse::<Msat>() {
                prop_assert_eq!(amount.to_string().parse(), Ok(amount));
            }
        }

        #[test]
        fn what_is_asked_always_covers_the_price(msat in 0..=MAX_MSAT) {
            let price = Msat::new(msat);
            let asked = price.ceil_sat().to_msat();
            prop_assert!(asked >= price);
            prop_assert!(asked.as_u64() - msat < MSAT_PER_SAT);
        }
    }
}

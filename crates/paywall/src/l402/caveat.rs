//! Caveats: the conditions written into a macaroon, as `condition=value`.
//!
//! | condition | value | meaning |
//! |---|---|---|
//! | `services` | `<name>:0[,<name>:0]` | good for one of these services |
//! | `<name>_capabilities` | `a[,b]` | good for one of these capabilities |
//! | `<name>_valid_until` | Unix seconds | not after this moment |
//! | `uses` | number, or `unlimited` | calls that the payment buys in all, or as many as wanted until it expires; a number added by a holder: calls that may be made with the narrowed copy |
//! | `price_msat` | number | what the payment cost, or of a metered one a call may cost, whatever the price is by now |
//! | `balance_msat` | number | a metered payment: what all calls together may cost |
//! | `sats` | number | added by a holder: what calls with the narrowed copy may cost together |
//! | `path_prefix` | `/v1` | only this path and those below it |
//! | `note` | text | means nothing; tells two otherwise equal copies apart, which then count apart |
//!
//! All caveats of a macaroon must hold, so adding one can only narrow it. What
//! is counted is counted for each such caveat by itself ([`super::limit`]), so a
//! holder can give a part of what he bought to somebody else, offline.

use std::fmt;

use super::macaroon::MacaroonError;
use crate::amount::Msat;

/// Longest caveat that is written or read, in bytes.
pub const MAX_CAVEAT_BYTES: usize = 2_048;
/// The value of `uses` where calls are not counted.
pub(super) const UNLIMITED: &str = "unlimited";

/// One condition, such as `uses=10`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caveat {
    condition: String,
    value: String,
}

impl Caveat {
    /// Returns the caveat `condition=value`.
    ///
    /// # Errors
    /// [`MacaroonError::Caveat`] when the condition is empty or holds `=`, when
    /// either part holds a control character, or when the whole is too long.
    pub fn new(
        condition: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, MacaroonError> {
        let (condition, value) = (condition.into(), value.into());
        let is_sound = !condition.is_empty()
            && !condition.contains('=')
            && !condition.chars().chain(value.chars()).any(char::is_control)
            && condition.len() + 1 + value.len() <= MAX_CAVEAT_BYTES;
        if is_sound {
            Ok(Self { condition, value })
        } else {
            Err(MacaroonError::Caveat)
        }
    }

    /// Reads `condition=value`.
    ///
    /// # Errors
    /// [`MacaroonError::Caveat`] when it is not of this form.
    pub fn parse(bytes: &[u8]) -> Result<Self, MacaroonError> {
        let text = std::str::from_utf8(bytes).map_err(|_| MacaroonError::Caveat)?;
        let (condition, value) = text.split_once('=').ok_or(MacaroonError::Caveat)?;
        Self::new(condition, value)
    }

    /// Returns the part before the first `=`.
    #[must_use]
    pub fn condition(&self) -> &str {
        &self.condition
    }

    /// Returns the part after the first `=`.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.condition, self.value)
    }
}

/// What one L402 payment buys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The service, for a node the agent's name.
    pub service: String,
    /// The capability; empty for all of the service.
    pub capability: String,
    /// Unix seconds after which it is worthless.
    pub valid_until: Option<u64>,
    /// Calls it is good for; `None` is one, or any number within the balance. 0 is as
    /// many as wanted until `valid_until`, which must be there then.
    pub uses: Option<u32>,
    /// The price that the payer was told; `None` leaves it to the moment of the call.
    pub price: Option<Msat>,
    /// What all calls together may cost, for a metered payment.
    pub balance: Option<Msat>,
    /// The path, and those below it, that it opens; `None` for all.
    pub path_prefix: Option<String>,
}

impl Terms {
    /// Returns the caveats that say so, in the order of the table above.
    ///
    /// # Errors
    /// [`MacaroonError::Caveat`] when a name cannot stand in a caveat, or when it is
    /// good for any number of calls without an end or with a balance.
    pub fn to_caveats(&self) -> Result<Vec<Caveat>, MacaroonError> {
        let service = &self.service;
        if service.is_empty() || service.contains([',', ':']) {
            return Err(MacaroonError::Caveat);
        }
        let mut caveats = vec![Caveat::new("services", format!("{service}:0"))?];
        if !self.capability.is_empty() {
            caveats.push(Caveat::new(
                format!("{service}_capabilities"),
                &self.capability,
            )?);
        }
        if let Some(valid_until) = self.valid_until {
            caveats.push(Caveat::new(
                format!("{service}_valid_until"),
                valid_until.to_string(),
            )?);
        }
        // Always one counted caveat: a holder's would count as what was bought.
        let uses = self.uses.or(self.balance.is_none().then_some(1));
        match uses {
            Some(0) if self.valid_until.is_none() || self.balance.is_some() => {
                return Err(MacaroonError::Caveat);
            }
            Some(0) => caveats.push(Caveat::new("uses", UNLIMITED)?),
            Some(uses) => caveats.push(Caveat::new("uses", uses.to_string())?),
            None => {}
        }
        if let Some(price) = self.price {
            caveats.push(Caveat::new("price_msat", price.as_u64().to_string())?);
        }
        if let Some(balance) = self.balance {
            caveats.push(Caveat::new("balance_msat", balance.as_u64().to_string())?);
        }
        if let Some(path_prefix) = &self.path_prefix {
            caveats.push(Caveat::new("path_prefix", path_prefix)?);
        }
        Ok(caveats)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_become_caveats_in_order() {
        let terms = Terms {
            service: "weather".to_owned(),
            capability: "read".to_owned(),
            valid_until: Some(1_900_000_000),
            uses: Some(10),
            price: Some(Msat::new(1_500)),
            balance: Some(Msat::new(5_000)),
            path_prefix: Some("/v1".to_owned()),
        };

        let text: Vec<_> = terms
            .to_caveats()
            .unwrap()
            .iter()
            .map(Caveat::to_string)
            .collect();

        assert_eq!(
            text.join("|"),
            "services=weather:0|weather_capabilities=read|weather_valid_until=1900000000|uses=10|price_msat=1500|balance_msat=5000|path_prefix=/v1"
        );
    }

    #[test]
    fn a_service_name_cannot_smuggle_a_second_service() {
        let terms = Terms {
            service: "a:0,b".to_owned(),
            ..Terms::default()
        };
        assert!(terms.to_caveats().is_err());
    }

    #[test]
    fn a_payment_is_always_limited_by_its_issuer() {
        let terms = Terms {
            service: "a".to_owned(),
            ..Terms::default()
        };
        assert_eq!(terms.to_caveats().unwrap()[1].to_string(), "uses=1");
    }

    #[test]
    fn calls_that_are_not_counted_need_an_end_and_no_balance() {
        let endless = Terms {
            service: "a".to_owned(),
            uses: Some(0),
            ..Terms::default()
        };
        let ending = Terms {
            valid_until: Some(1_900_000_000),
            ..endless.clone()
        };
        let metered = Terms {
            balance: Some(Msat::new(1)),
            ..ending.clone()
        };

        assert!(endless.to_caveats().is_err());
        assert!(metered.to_caveats().is_err());
        assert_eq!(
            ending.to_caveats().unwrap()[2].to_string(),
            "uses=unlimited"
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_prints_what_it_parses(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "[a-z_]{0,8}={0,2}[ -~]{0,16}".prop_map(String::into_bytes),
            ]
        ) {
            if let Ok(caveat) = Caveat::parse(&bytes) {
                prop_assert_eq!(caveat.to_string().into_bytes(), bytes);
            }
        }
    }
}

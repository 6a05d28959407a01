//! Amounts in configuration files: text that names its unit, such as `21sat`.

use feria_paywall::amount::Msat;

fn print(amount: Msat) -> String {
    amount.to_string().replace(' ', "")
}

/// Reads and writes [`Msat`] as `21sat` or `1500msat`.
pub(super) mod msat {
    use feria_paywall::amount::Msat;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(amount: &Msat, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&super::print(*amount))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Msat, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads and writes an amount that may be left out.
pub(super) mod msat_option {
    use feria_paywall::amount::Msat;
    use serde::{Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        amount: &Option<Msat>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        amount
            .as_ref()
            .map(|amount| super::print(*amount))
            .serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Msat>, D::Error> {
        super::msat::deserialize(from).map(Some)
    }
}

/// Reads and writes [`Sat`](feria_paywall::amount::Sat) as `21sat`.
pub(super) mod sat {
    use feria_paywall::amount::{Msat, Sat};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(amount: &Sat, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&super::print(amount.to_msat()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Sat, D::Error> {
        let text = String::deserialize(from)?;
        let amount: Msat = text.parse().map_err(serde::de::Error::custom)?;
        if amount.floor_sat() != amount.ceil_sat() {
            return Err(serde::de::Error::custom(format!(
                "amount {text:?} is not a whole number of sat"
            )));
        }
        Ok(amount.floor_sat())
    }
}

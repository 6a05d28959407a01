//! Payment hashes and preimages of Lightning invoices.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The SHA-256 of a [`Preimage`]; names a Lightning payment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentHash([u8; 32]);

/// The proof that an invoice was paid. Whoever knows it can spend the L402
/// credential, so it never shows in `Debug` output and is wiped when dropped.
#[derive(Clone)]
pub struct Preimage([u8; 32]);

/// Text that is not 64 hexadecimal characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read 32 bytes from hexadecimal text of {length} characters")]
pub struct ParseHex32Error {
    /// The length of the text.
    pub length: usize,
}

impl PaymentHash {
    /// Returns the hash with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Preimage {
    /// Returns the preimage with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the secret bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the secret as 64 lower-case hexadecimal characters, the form of an `Authorization` header.
    #[must_use]
    pub fn expose_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the hash of this preimage.
    #[must_use]
    pub fn payment_hash(&self) -> PaymentHash {
        PaymentHash(Sha256::digest(self.0).into())
    }

    /// Returns whether this is the preimage of `hash`, in constant time.
    #[must_use]
    pub fn opens(&self, hash: &PaymentHash) -> bool {
        self.payment_hash().0.ct_eq(&hash.0).into()
    }
}

impl Drop for Preimage {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaymentHash({self})")
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(..)")
    }
}

fn parse_hex32(text: &str) -> Result<[u8; 32], ParseHex32Error> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseHex32Error { length: text.len() })?;
    Ok(bytes)
}

/// Parses 64 hexadecimal characters, upper or lower case.
impl FromStr for PaymentHash {
    type Err = ParseHex32Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self)
    }
}

/// Parses 64 hexadecimal characters, upper or lower case.
impl FromStr for Preimage {
    type Err = ParseHex32Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_preimage_opens_its_own_hash_only() {
        let preimage = Preimage::new([1; 32]);
        assert!(preimage.opens(&preimage.payment_hash()));
        assert!(!preimage.opens(&Preimage::new([2; 32]).payment_hash()));
        assert_eq!(format!("{preimage:?}"), "Preimage(..)");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_prints_what_it_parses(
            text in prop_oneof!["\\PC{0,70}", "[0-9a-fA-F]{64}"]
        ) {
            if let Ok(hash) = text.parse::<PaymentHash>() {
                prop_assert_eq!(hash.to_string(), text.to_ascii_lowercase());
            }
            if let Ok(preimage) = text.parse::<Preimage>() {
                prop_assert_eq!(preimage.expose_hex(), text.to_ascii_lowercase());
            }
        }
    }
}

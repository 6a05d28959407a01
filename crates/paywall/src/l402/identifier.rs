//! The identifier of an L402 macaroon: which payment it stands for.
//!
//! 66 bytes: version 0 as a big-endian `u16`, the payment hash, a token id.
//!
//! <https://github.com/lightninglabs/L402/blob/master/macaroon-spec.md>

use crate::payment::PaymentHash;

/// The only version in use.
const VERSION: [u8; 2] = [0, 0];
/// Length of an encoded identifier, in bytes.
pub const IDENTIFIER_BYTES: usize = 66;

/// What an L402 macaroon says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identifier {
    /// The payment that makes the macaroon valid.
    pub payment_hash: PaymentHash,
    /// Random; tells apart two tokens for one payment.
    pub token_id: [u8; 32],
}

/// Bytes that are not an L402 identifier of version 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// The macaroon belongs to another protocol.
    #[error("read an identifier of {0} bytes instead of {IDENTIFIER_BYTES}")]
    Length(usize),
    /// Issued by a newer server.
    #[error("read an identifier of version {0}")]
    Version(u16),
}

impl Identifier {
    /// Returns the wire form.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTIFIER_BYTES] {
        let mut bytes = [0; IDENTIFIER_BYTES];
        bytes[..2].copy_from_slice(&VERSION);
        bytes[2..34].copy_from_slice(self.payment_hash.as_bytes());
        bytes[34..].copy_from_slice(&self.token_id);
        bytes
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// When the length or the version differs.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentifierError> {
        let bytes: &[u8; IDENTIFIER_BYTES] = bytes
            .try_into()
            .map_err(|_| IdentifierError::Length(bytes.len()))?;
        if bytes[..2] != VERSION {
            return Err(IdentifierError::Version(u16::from_be_bytes([
                bytes[0], bytes[1],
            ])));
        }
        let (mut payment_hash, mut token_id) = ([0; 32], [0; 32]);
        payment_hash.copy_from_slice(&bytes[2..34]);
        token_id.copy_from_slice(&bytes[34..]);
        Ok(Self {
            payment_hash: PaymentHash::new(payment_hash),
            token_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unknown_version_is_refused() {
        let mut bytes = [0; IDENTIFIER_BYTES];
        bytes[1] = 1;
        assert_eq!(Identifier::decode(&bytes), Err(IdentifierError::Version(1)));
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_prints_what_it_parses(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                proptest::collection::vec(any::<u8>(), 64).prop_map(|rest| [vec![0, 0], rest].concat()),
            ]
        ) {
            if let Ok(identifier) = Identifier::decode(&bytes) {
                prop_assert_eq!(identifier.encode().to_vec(), bytes);
            }
        }
    }
}

//! Macaroons in their V2 binary form, over the crate `macaroon`.
//!
//! Covers for that crate: base64 is standard and padded as Aperture and lnget
//! need it (the crate writes the URL-safe alphabet), any alphabet is read, size
//! is capped before parsing, only the canonical bytes are taken, and `Debug`
//! shows no key or signature.

use std::fmt;
use std::sync::LazyLock;

use ::macaroon::{ByteString, Format};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::caveat::Caveat;

/// Largest macaroon that is read or written, in bytes. Those of L402 take about 250.
pub const MAX_MACAROON_BYTES: usize = 16 * 1_024;

/// Base64 with or without padding; the alphabet is normalised before.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether libsodium is ready. The crate draws random bytes at every parse, and
/// before this they are not safe to draw from two threads.
static IS_READY: LazyLock<bool> = LazyLock::new(|| ::macaroon::initialize().is_ok());

/// Bytes or text that are no macaroon, or would not be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MacaroonError {
    /// Longer than [`MAX_MACAROON_BYTES`].
    #[error("read a macaroon of more than {MAX_MACAROON_BYTES} bytes")]
    TooLong,
    /// Neither alphabet of base64.
    #[error("read a macaroon that is not base64")]
    Base64,
    /// Not the V2 binary form, or not in its one canonical spelling.
    #[error("read bytes that are not a V2 macaroon")]
    Format,
    /// A caveat is not `condition=value`, or too long.
    #[error("read or write a caveat that is not of the form condition=value")]
    Caveat,
}

/// A signed identifier and its caveats. With the preimage it is money: never logged.
#[derive(Clone)]
pub struct Macaroon {
    inner: ::macaroon::Macaroon,
    bytes: Vec<u8>,
}

impl Macaroon {
    /// Reads the V2 binary form.
    ///
    /// # Errors
    /// When it is too long, not V2 or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MacaroonError> {
        if bytes.len() > MAX_MACAROON_BYTES {
            return Err(MacaroonError::TooLong);
        }
        if bytes.first() != Some(&2) || !*IS_READY {
            return Err(MacaroonError::Format);
        }
        let inner =
            ::macaroon::Macaroon::deserialize_binary(bytes).map_err(|_| MacaroonError::Format)?;
        let macaroon = Self::from_inner(inner)?;
        // The crate ignores trailing bytes and overlong lengths; taken as they
        // are, one credential would have many spellings.
        if macaroon.bytes == bytes {
            Ok(macaroon)
        } else {
            Err(MacaroonError::Format)
        }
    }

    /// Reads base64 of either alphabet, padded or not.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], or when it is not base64.
    pub fn parse(text: &str) -> Result<Self, MacaroonError> {
        if text.len() > MAX_MACAROON_BYTES.div_ceil(3) * 4 {
            return Err(MacaroonError::TooLong);
        }
        let standard: String = text
            .chars()
            .map(|c| match c {
                '-' => '+',
                '_' => '/',
                other => other,
            })
            .collect();
        let bytes = TOLERANT
            .decode(standard)
            .map_err(|_| MacaroonError::Base64)?;
        Self::from_bytes(&bytes)
    }

    pub(super) fn from_inner(inner: ::macaroon::Macaroon) -> Result<Self, MacaroonError> {
        let text = inner
            .serialize(Format::V2)
            .map_err(|_| MacaroonError::Format)?;
        let bytes = base64::engine::general_purpose::URL_SAFE
            .decode(text)
            .map_err(|_| MacaroonError::Format)?;
        if bytes.len() > MAX_MACAROON_BYTES {
            return Err(MacaroonError::TooLong);
        }
        Ok(Self { inner, bytes })
    }

    /// Returns the V2 binary form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns standard base64 with padding, the form of every header.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// Returns URL-safe base64 without padding, for shells and environment variables.
    #[must_use]
    pub fn to_base64_url(&self) -> String {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&self.bytes)
    }

    /// Returns the identifier; nothing about it is verified.
    #[must_use]
    pub fn identifier(&self) -> Vec<u8> {
        self.inner.identifier().0
    }

    /// Returns the caveats; nothing about them is verified.
    ///
    /// # Errors
    /// [`MacaroonError::Caveat`] when one is of the third-party kind or not `condition=value`.
    pub fn caveats(&self) -> Result<Vec<Caveat>, MacaroonError> {
        self.inner
            .caveats()
            .iter()
            .map(|caveat| match caveat {
                ::macaroon::Caveat::FirstParty(caveat) => Caveat::parse(&caveat.predicate().0),
                ::macaroon::Caveat::ThirdParty(_) => Err(MacaroonError::Caveat),
            })
            .collect()
    }

    /// Returns a copy narrowed by `caveat`. Needs no key: the holder may do it offline.
    ///
    /// # Errors
    /// [`MacaroonError::TooLong`] when the caveat does not fit any more.
    pub fn attenuate(&self, caveat: &Caveat) -> Result<Self, MacaroonError> {
        let mut inner = self.inner.clone();
        inner.add_first_party_caveat(ByteString::from(caveat.to_string()));
        Self::from_inner(inner)
    }

    pub(super) fn signature(&self) -> [u8; 32] {
        *self.inner.signature().as_ref()
    }
}

impl fmt::Debug for Macaroon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Macaroon(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::l402::Issuer;

    fn sample() -> Macaroon {
        let caveat = Caveat::new("uses", "3").unwrap();
        Issuer::new(&[7; 32])
            .issue_bytes(b"identifier?>", &[caveat])
            .unwrap()
    }

    #[test]
    fn every_form_of_base64_is_read() {
        let macaroon = sample();
        let standard = macaroon.to_base64();
        let url_safe = standard.replace('+', "-").replace('/', "_");
        for text in [
            standard.as_str(),
            standard.trim_end_matches('='),
            url_safe.as_str(),
            url_safe.trim_end_matches('='),
        ] {
            assert_eq!(
                Macaroon::parse(text).unwrap().as_bytes(),
                macaroon.as_bytes()
            );
        }
    }

    #[test]
    fn trailing_bytes_and_oversize_are_refused() {
        let mut bytes = sample().as_bytes().to_vec();
        bytes.push(0);
        assert_eq!(
            Macaroon::from_bytes(&bytes).err(),
            Some(MacaroonError::Format)
        );
        assert_eq!(
            Macaroon::parse(&"A".repeat(100_000)).err(),
            Some(MacaroonError::TooLong)
        );
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", sample()), "Macaroon(..)");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_prints_what_it_parses(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            flip in 0..80_usize,
            value in any::<u8>(),
        ) {
            let mut near = sample().as_bytes().to_vec();
            if let Some(byte) = near.get_mut(flip) {
                *byte = value;
            }
            for bytes in [noise.clone(), [vec![2], noise].concat(), near] {
                if let Ok(macaroon) = Macaroon::from_bytes(&bytes) {
                    prop_assert_eq!(macaroon.as_bytes(), bytes.as_slice());
                }
            }
        }

        #[test]
        fn parsing_text_never_panics(text in ".{0,300}") {
            let _ = Macaroon::parse(&text);
        }
    }
}

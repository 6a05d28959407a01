//! Issues macaroons and recognises its own again, without a stored row.
//!
//! The root key of a macaroon is HMAC-SHA256(secret, identifier), so an unpaid
//! challenge costs nothing. The signature of a presented macaroon is rebuilt
//! and compared in constant time. Whether the caveats hold is not decided here.

use std::fmt;

use ::macaroon::{ByteString, MacaroonKey};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::caveat::Caveat;
use super::identifier::{Identifier, IdentifierError};
use super::macaroon::{Macaroon, MacaroonError};

/// The location that every Go implementation writes.
const LOCATION: &str = "lsat";

/// Holds the secret behind all macaroons of one purpose.
pub struct Issuer {
    secret: Zeroizing<[u8; 32]>,
}

/// A macaroon that this issuer signed, with everything it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedMacaroon {
    /// Which payment it stands for.
    pub identifier: Identifier,
    /// All conditions, the issuer's first, the holders' after.
    pub caveats: Vec<Caveat>,
    /// For each caveat, the name of the macaroon as it was right after it: the
    /// SHA-256 of that signature, which says nothing about the signature.
    pub names: Vec<[u8; 32]>,
}

/// Why a macaroon is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Issued with another secret, or changed since.
    #[error("recognise the macaroon's signature")]
    Signature,
    /// Not an L402 identifier.
    #[error("read the macaroon's identifier")]
    Identifier(#[source] IdentifierError),
    /// A caveat is of the third-party kind or not `condition=value`.
    #[error("read the macaroon's caveats")]
    Caveat(#[source] MacaroonError),
}

impl Issuer {
    /// Returns the issuer that `secret` stands for. Use one secret per purpose.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            secret: Zeroizing::new(*secret),
        }
    }

    /// Issues an L402 macaroon.
    ///
    /// # Errors
    /// [`MacaroonError::TooLong`] when the caveats do not fit.
    pub fn issue(
        &self,
        identifier: &Identifier,
        caveats: &[Caveat],
    ) -> Result<Macaroon, MacaroonError> {
        self.issue_bytes(&identifier.encode(), caveats)
    }

    /// Issues a macaroon with an identifier of the caller's own.
    ///
    /// # Errors
    /// When the identifier is empty or the caveats do not fit.
    pub fn issue_bytes(
        &self,
        identifier: &[u8],
        caveats: &[Caveat],
    ) -> Result<Macaroon, MacaroonError> {
        let root_key = self.root_key(identifier)?;
        sign(&root_key, identifier, predicates(caveats), |_| {}).and_then(Macaroon::from_inner)
    }

    /// Recognises an L402 macaroon. Its payment and its conditions are the
    /// business of [`super::check()`].
    ///
    /// # Errors
    /// When the macaroon is not ours or not L402.
    pub fn verify(&self, macaroon: &Macaroon) -> Result<VerifiedMacaroon, Reject> {
        let mut names = Vec::new();
        let caveats = self.recognise(macaroon, |signature| {
            names.push(Sha256::digest(signature).into());
        })?;
        let identifier = Identifier::decode(&macaroon.identifier()).map_err(Reject::Identifier)?;
        Ok(VerifiedMacaroon {
            identifier,
            caveats,
            names,
        })
    }

    /// Recognises a macaroon of [`Self::issue_bytes`] and returns its caveats.
    ///
    /// # Errors
    /// When the macaroon is not ours.
    pub fn verify_bytes(&self, macaroon: &Macaroon) -> Result<Vec<Caveat>, Reject> {
        self.recognise(macaroon, |_| {})
    }

    /// Signs anew what `macaroon` says and compares; tells `after_each` the
    /// signature after each caveat.
    fn recognise(
        &self,
        macaroon: &Macaroon,
        after_each: impl FnMut(&[u8]),
    ) -> Result<Vec<Caveat>, Reject> {
        let caveats = macaroon.caveats().map_err(Reject::Caveat)?;
        let identifier = macaroon.identifier();
        let expected = self
            .root_key(&identifier)
            .and_then(|root_key| sign(&root_key, &identifier, predicates(&caveats), after_each))
            .map_err(|_| Reject::Signature)?;
        let expected: [u8; 32] = *expected.signature().as_ref();
        if bool::from(expected.ct_eq(&macaroon.signature())) {
            Ok(caveats)
        } else {
            Err(Reject::Signature)
        }
    }

    /// Derives the root key, so that none has to be stored.
    fn root_key(&self, identifier: &[u8]) -> Result<Zeroizing<Vec<u8>>, MacaroonError> {
        // HMAC takes a key of any length; were that ever wrong, nothing is signed.
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.secret).map_err(|_| MacaroonError::Format)?;
        mac.update(identifier);
        Ok(Zeroizing::new(mac.finalize().into_bytes().to_vec()))
    }
}

fn predicates(caveats: &[Caveat]) -> impl Iterator<Item = Vec<u8>> {
    caveats.iter().map(|caveat| caveat.to_string().into_bytes())
}

/// Signs with a raw root key, as libmacaroons and Go do: `generate` derives the
/// signing key from it, which `MacaroonKey::from` would leave out.
fn sign(
    root_key: &[u8],
    identifier: &[u8],
    predicates: impl Iterator<Item = Vec<u8>>,
    mut after_each: impl FnMut(&[u8]),
) -> Result<::macaroon::Macaroon, MacaroonError> {
    let key = MacaroonKey::generate(root_key);
    let identifier = ByteString(identifier.to_vec());
    let mut macaroon = ::macaroon::Macaroon::create(Some(LOCATION.to_owned()), &key, identifier)
        .map_err(|_| MacaroonError::Format)?;
    for predicate in predicates {
        macaroon.add_first_party_caveat(ByteString(predicate));
        after_each(macaroon.signature().as_ref());
    }
    Ok(macaroon)
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer(..)")
    }
}

#[cfg(test)]
mod tests;

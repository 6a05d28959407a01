//! The node's one secret, and every key derived from it.
//!
//! | derived | how |
//! |---|---|
//! | Nostr key of an agent | HMAC-SHA256(seed, `feria/nostr/<agent>`); the node's own has the empty name |
//! | seed of all wallets | HMAC-SHA512(seed, `feria/wallets`) |
//! | seed of an embedded Lightning node | HMAC-SHA512(seed, `feria/lightning/<name>`) |
//! | other secrets | HMAC-SHA256(seed, label): `feria/paywall`, `feria/access` |
//!
//! Whoever has the seed has everything, so a backup of it and of `ledger.db` is a
//! backup of the node.

use std::fmt;
use std::io::Write;
use std::path::Path;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use nostr::key::{Keys, SecretKey};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{ConfigError, SecretRef};
use crate::clock::{Entropy, random_bytes};

/// The label of the paywall's root secret.
pub const PAYWALL_SECRET: &str = "feria/paywall";
/// The label of the root secret of the node's own API.
pub const ACCESS_SECRET: &str = "feria/access";

const SEED_BYTES: usize = 64;

/// The node's seed; wiped when dropped, never printed.
#[derive(Clone)]
pub struct NodeSeed(Zeroizing<[u8; SEED_BYTES]>);

impl fmt::Debug for NodeSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeSeed(..)")
    }
}

impl NodeSeed {
    /// Returns the seed with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SEED_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads the seed that `reference` means.
    ///
    /// # Errors
    /// When it is missing, readable by others, or not 128 hexadecimal characters.
    pub fn load(reference: &SecretRef, data_dir: &Path) -> Result<Self, ConfigError> {
        let text = reference.read(data_dir)?;
        let mut bytes = Zeroizing::new([0; SEED_BYTES]);
        hex::decode_to_slice(text.as_bytes(), bytes.as_mut_slice()).map_err(|_| {
            ConfigError::Secret {
                reference: String::from(reference.clone()),
                reason: "a seed is 128 hexadecimal characters; restore it from the backup"
                    .to_owned(),
            }
        })?;
        Ok(Self(bytes))
    }

    /// Reads the seed that `reference` means, or makes and writes one if that is a
    /// file that is not there yet.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::save_new`].
    pub fn load_or_create(
        reference: &SecretRef,
        data_dir: &Path,
        entropy: &dyn Entropy,
    ) -> Result<Self, ConfigError> {
        match reference.path(data_dir) {
            Some(path) if !path.exists() => {
                let seed = Self::from_bytes(random_bytes(entropy));
                seed.save_new(&path)?;
                Ok(seed)
            }
            _ => Self::load(reference, data_dir),
        }
    }

    /// Writes this seed to a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file exists, because replacing a seed loses what it opens, or cannot be written.
    pub fn save_new(&self, path: &Path) -> Result<(), ConfigError> {
        use std::os::unix::fs::OpenOptionsExt;

        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            let text = Zeroizing::new(hex::encode(self.0.as_slice()));
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write().map_err(|source| ConfigError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Returns the Nostr keys of the own agent `agent`; the node's own for the empty name.
    #[must_use]
    pub fn nostr_keys(&self, agent: &str) -> Keys {
        let mut label = format!("feria/nostr/{agent}");
        loop {
            // One in 2^128 outputs is no key of the curve; the next label has one.
            if let Ok(secret) = SecretKey::from_slice(&self.secret(&label)) {
                return Keys::new(secret);
            }
            label.push('\'');
        }
    }

    /// Returns the seed from which the wallets derive everything of theirs.
    #[must_use]
    pub fn wallet_seed(&self) -> [u8; 64] {
        self.long_secret("feria/wallets")
    }

    /// Returns the seed of the Lightning node `name` that runs inside this one.
    #[must_use]
    pub fn lightning_seed(&self, name: &str) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.long_secret(&format!("feria/lightning/{name}")))
    }

    fn long_secret(&self, label: &str) -> [u8; 64] {
        // HMAC fills a short key with zeros up to the block, 128 bytes for SHA-512.
        let mut block = Zeroizing::new([0; 2 * SEED_BYTES]);
        block[..SEED_BYTES].copy_from_slice(self.0.as_slice());
        let mut mac = <Hmac<Sha512> as KeyInit>::new((&*block).into());
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Returns the secret named `label`.
    #[must_use]
    pub fn secret(&self, label: &str) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*self.0).into());
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_differ_and_stay_the_same() {
        let seed = NodeSeed::from_bytes([7; 64]);

        assert_eq!(
            seed.nostr_keys("data").public_key(),
            seed.nostr_keys("data").public_key()
        );
        assert_ne!(
            seed.nostr_keys("data").public_key(),
            seed.nostr_keys("").public_key()
        );
        assert_ne!(seed.secret(PAYWALL_SECRET), seed.secret(ACCESS_SECRET));
        assert_ne!(seed.wallet_seed(), [0; 64]);
        assert_eq!(format!("{seed:?}"), "NodeSeed(..)");
    }

    #[test]
    fn a_saved_seed_reads_back_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        let seed = NodeSeed::from_bytes([9; 64]);

        seed.save_new(&path).unwrap();
        let read = NodeSeed::load(&SecretRef::File("seed".into()), folder.path()).unwrap();

        assert_eq!(read.wallet_seed(), seed.wallet_seed());
        assert!(NodeSeed::from_bytes([1; 64]).save_new(&path).is_err());
    }
}

//! Every secret of the wallet, derived from the one seed.
//!
//! | what | derived from |
//! |---|---|
//! | seed of a wallet (NUT-13) | HMAC-SHA512(seed, `feria/wallet/<id>`) |
//! | own outputs | that seed, keyset id and counter, as in NUT-13 |
//! | outputs handed out | HMAC-SHA256(seed, `feria/output/<operation>/<index>/<secret or blinding>`) |
//! | P2PK key of an agent | HMAC-SHA256(seed, `feria/p2pk/<agent>`) |
//! | refund key of a wallet | HMAC-SHA256(seed, `feria/refund/<wallet id>`) |
//! | key of a mint quote (NUT-20) | HMAC-SHA256(seed, `feria/quote/<nonce>`) |
//!
//! Outputs handed out do not use counters: a wallet restored from its counters
//! must never find, and take back, what it has given away.
//!
//! NUT-13: <https://github.com/cashubtc/nuts/blob/main/13.md>

use std::fmt;

use cdk::dhke::blind_message;
use cdk::nuts::{BlindedMessage, Id, PreMint, PublicKey, SecretKey};
use cdk::secret::Secret;
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::plan::PlannedLock;

/// A derivation that met one of the 2^-128 hashes that are no key, or a malformed key from outside.
#[derive(Debug, thiserror::Error)]
#[error("derive {0}")]
pub(crate) struct DerivationError(pub(crate) &'static str);

/// The seed of all wallets; never printed.
pub(crate) struct Seeds {
    seed: Zeroizing<[u8; 64]>,
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeds(..)")
    }
}

/// A NUT-10 secret in the order that NUT-11 shows it.
#[derive(Serialize)]
struct LockedSecret<'a> {
    nonce: &'a str,
    data: &'a str,
    tags: Vec<Vec<String>>,
}

impl Seeds {
    pub(crate) fn new(seed: [u8; 64]) -> Self {
        Self {
            seed: Zeroizing::new(seed),
        }
    }

    fn wallet_seed(&self, wallet_id: &str) -> Result<Zeroizing<[u8; 64]>, DerivationError> {
        let mut mac = Hmac::<Sha512>::new_from_slice(self.seed.as_slice())
            .map_err(|_| DerivationError("wallet seed"))?;
        mac.update(b"feria/wallet/");
        mac.update(wallet_id.as_bytes());
        Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
    }

    fn bytes(&self, label: &str) -> Result<Zeroizing<[u8; 32]>, DerivationError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.seed.as_slice())
            .map_err(|_| DerivationError("secret"))?;
        mac.update(label.as_bytes());
        Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
    }

    fn key(&self, label: &str) -> Result<SecretKey, DerivationError> {
        SecretKey::from_slice(self.bytes(label)?.as_slice()).map_err(|_| DerivationError("key"))
    }

    /// The key that opens tokens locked to an own agent.
    pub(crate) fn agent_key(&self, agent: &str) -> Result<SecretKey, DerivationError> {
        self.key(&format!("feria/p2pk/{agent}"))
    }

    /// The key that takes a locked token home after its locktime.
    pub(crate) fn refund_key(&self, wallet_id: &str) -> Result<SecretKey, DerivationError> {
        self.key(&format!("feria/refund/{wallet_id}"))
    }

    /// The key without which nobody can claim a mint quote.
    pub(crate) fn quote_key(&self, nonce: &str) -> Result<SecretKey, DerivationError> {
        self.key(&format!("feria/quote/{nonce}"))
    }

    /// An output of an own wallet.
    pub(crate) fn own_output(
        &self,
        wallet_id: &str,
        keyset_id: Id,
        counter: u32,
        amount: u64,
    ) -> Result<PreMint, DerivationError> {
        let seed = self.wallet_seed(wallet_id)?;
        let secret = Secret::from_seed(&seed, keyset_id, counter)
            .map_err(|_| DerivationError("output secret"))?;
        let blinding = SecretKey::from_seed(&seed, keyset_id, counter)
            .map_err(|_| DerivationError("blinding factor"))?;
        let mut output = blind(keyset_id, amount, secret, blinding)?;
        output.derivation_index = Some(counter);
        Ok(output)
    }

    /// An output that `operation_id` hands out, locked if `lock` says so.
    pub(crate) fn handed_output(
        &self,
        operation_id: &str,
        index: usize,
        keyset_id: Id,
        amount: u64,
        lock: Option<&PlannedLock>,
    ) -> Result<PreMint, DerivationError> {
        let label = format!("feria/output/{operation_id}/{index}");
        let nonce = hex::encode(self.bytes(&format!("{label}/secret"))?.as_slice());
        let secret = match lock {
            None => nonce,
            Some(lock) => locked_secret(&nonce, lock)?,
        };
        let blinding = self.key(&format!("{label}/blinding"))?;
        blind(keyset_id, amount, Secret::new(secret), blinding)
    }
}

fn blind(
    keyset_id: Id,
    amount: u64,
    secret: Secret,
    blinding: SecretKey,
) -> Result<PreMint, DerivationError> {
    let (blinded, r) = blind_message(secret.as_bytes(), Some(blinding))
        .map_err(|_| DerivationError("blinded message"))?;
    Ok(PreMint {
        blinded_message: BlindedMessage::new(amount.into(), keyset_id, blinded),
        secret,
        r,
        amount: amount.into(),
        derivation_index: None,
    })
}

fn locked_secret(nonce: &str, lock: &PlannedLock) -> Result<String, DerivationError> {
    let tag = |name: &str, value: String| vec![name.to_owned(), value];
    serde_json::to_string(&(
        "P2PK",
        LockedSecret {
            nonce,
            data: &lock.key,
            tags: vec![
                tag("locktime", lock.locktime.to_string()),
                tag("refund", lock.refund.clone()),
                tag("sigflag", "SIG_INPUTS".to_owned()),
            ],
        },
    ))
    .map_err(|_| DerivationError("locked secret"))
}

/// Reads a compressed public key; 32-byte Nostr keys are refused.
pub(crate) fn public_key(text: &str) -> Result<PublicKey, DerivationError> {
    PublicKey::from_hex(text).map_err(|_| DerivationError("public key"))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use cdk::nuts::SpendingConditions;

    use super::*;

    #[test]
    fn a_locked_output_is_a_valid_p2pk_secret() {
        let seeds = Seeds::new([7; 64]);
        let payee = seeds.agent_key("payee").unwrap().public_key();
        let refund = seeds.refund_key("treasury").unwrap().public_key();
        let lock = PlannedLock {
            key: payee.to_hex(),
            locktime: 1_900_000_000,
            refund: refund.to_hex(),
        };
        let id = Id::from_str("009a1f293253e41e").unwrap();

        let output = seeds.handed_output("op", 0, id, 8, Some(&lock)).unwrap();

        let conditions = SpendingConditions::try_from(&output.secret).unwrap();
        assert_eq!(conditions.pubkeys(), Some(vec![payee]));
        assert_eq!(conditions.refund_keys(), Some(vec![refund]));
        assert_eq!(conditions.locktime(), Some(1_900_000_000));
    }

    #[test]
    fn outputs_repeat_exactly_and_never_collide() {
        let seeds = Seeds::new([7; 64]);
        let id = Id::from_str("009a1f293253e41e").unwrap();
        let first = seeds.handed_output("op", 0, id, 8, None).unwrap();

        assert_eq!(first, seeds.handed_output("op", 0, id, 8, None).unwrap());
        assert_ne!(
            first.secret,
            seeds.handed_output("op", 1, id, 8, None).unwrap().secret
        );
        assert_ne!(
            seeds.own_output("a", id, 0, 8).unwrap().secret,
            seeds.own_output("b", id, 0, 8).unwrap().secret
        );
    }
}

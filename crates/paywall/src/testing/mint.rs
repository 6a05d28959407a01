//! A mint of play money, and the redeemer that takes its tokens offline.
//!
//! It signs as a mint does, with true DLEQ proofs, so that the whole offline check
//! runs. It keeps no list of spent proofs and cannot be asked: unlocked tokens,
//! which would have to be swapped, are refused, and change or a refund stays owed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::amount::Sat;
use crate::journal::{CallId, PayOut};
use crate::price::EcashTerms;
use crate::scheme::{Redeemer, SwapFault, SwapOrder};
use crate::xcashu::cashu::dhke::{blind_message, sign_message, unblind_message};
use crate::xcashu::cashu::nuts::{
    BlindSignature, CurrencyUnit, Id, Keys, Proof, ProofDleq, Proofs, SecretKey, Token,
};
use crate::xcashu::cashu::secret::Secret;
use crate::xcashu::cashu::{Amount, MintUrl};
use crate::xcashu::request;
use crate::xcashu::{KeysetInfo, MintInfo};

/// Amounts it signs: powers of two below 2 to this power, in satoshi.
const POWERS: u8 = 16;
/// How long payers must lock. Seconds.
const MIN_LOCKTIME_SECS: u64 = 3_600;

/// A mint of play money whose tokens are taken offline.
pub struct MemoryMint {
    url: MintUrl,
    keys: BTreeMap<Amount, SecretKey>,
    info: Arc<MintInfo>,
    lock_key: SecretKey,
    counter: AtomicU64,
}

impl MemoryMint {
    /// Returns a mint that calls itself `url`; `None` when that is no URL. The same
    /// `seed` gives the same keys.
    #[must_use]
    pub fn new(url: &str, seed: u8) -> Option<Self> {
        let url: MintUrl = url.parse().ok()?;
        let keys = (0..POWERS)
            .map(|power| Some((Amount::from(1 << power), secret_key(seed, power)?)))
            .collect::<Option<BTreeMap<_, _>>>()?;
        let public = keys.iter().map(|(amount, key)| (*amount, key.public_key()));
        let public = Keys::new(public.collect());
        let keyset = KeysetInfo {
            id: Id::v2_from_data(&public, &CurrencyUnit::Sat, 0, None),
            unit: CurrencyUnit::Sat,
            active: true,
            input_fee_ppk: 0,
            final_expiry: None,
            keys: public,
        };
        let info = MintInfo {
            url: url.to_string(),
            enforces_p2pk: true,
            keysets: vec![keyset],
        };
        Some(Self {
            url,
            keys,
            info: Arc::new(info),
            lock_key: secret_key(seed, POWERS)?,
            counter: AtomicU64::new(0),
        })
    }

    /// Returns the terms on which this mint's tokens are taken.
    #[must_use]
    pub fn terms(&self) -> EcashTerms {
        EcashTerms {
            mints: vec![self.info.url.clone()],
            lock_key: Some(self.lock_key.public_key().to_hex()),
            min_locktime_secs: MIN_LOCKTIME_SECS,
        }
    }

    /// "Pays" a payment request of `X-Cashu`: returns a token over its amount, locked
    /// as it asks, without an end. `None` when it asks for something else, or too much.
    #[must_use]
    pub fn pay(&self, request: &str) -> Option<String> {
        let terms = request::parse(request).ok()?;
        let key = terms.lock_key?;
        let amount = terms.amount.as_u64();
        let proofs = (0..u64::BITS)
            .filter(|power| amount & (1 << power) != 0)
            .map(|power| {
                let nonce = self.counter.fetch_add(1, Ordering::SeqCst);
                let secret =
                    format!(r#"["P2PK",{{"nonce":"{nonce:064x}","data":"{key}","tags":[]}}]"#);
                self.sign(1 << power, &secret, nonce)
            })
            .collect::<Option<Proofs>>()?;
        Some(Token::new(self.url.clone(), proofs, None, CurrencyUnit::Sat).to_string())
    }

    /// Signs `secret` as mints do, with a DLEQ proof.
    fn sign(&self, amount: u64, secret: &str, nonce: u64) -> Option<Proof> {
        let amount = Amount::from(amount);
        let key = self.keys.get(&amount)?;
        let id = self.info.keysets.first()?.id;
        let mut blinding = [1; 32];
        blinding[24..].copy_from_slice(&nonce.to_be_bytes());
        let blinding = SecretKey::from_slice(&blinding).ok()?;
        let (blinded, r) = blind_message(secret.as_bytes(), Some(blinding)).ok()?;
        let signed = sign_message(key, &blinded).ok()?;
        let dleq = BlindSignature::new(amount, signed, id, &blinded, key)
            .ok()?
            .dleq?;
        let c = unblind_message(&signed, &r, &key.public_key()).ok()?;
        Some(Proof {
            dleq: Some(ProofDleq::new(dleq.e, dleq.s, r)),
            ..Proof::new(amount, id, Secret::new(secret), c)
        })
    }
}

/// Returns a key that is not secret at all.
fn secret_key(seed: u8, number: u8) -> Option<SecretKey> {
    let mut bytes = [seed.max(1); 32];
    bytes[31] = number;
    SecretKey::from_slice(&bytes).ok()
}

#[async_trait]
impl Redeemer for MemoryMint {
    async fn offline_info(&self, mint: &str) -> Option<Arc<MintInfo>> {
        (mint == self.info.url).then(|| Arc::clone(&self.info))
    }

    async fn swap(&self, _order: SwapOrder) -> Result<Sat, SwapFault> {
        Err(SwapFault::Refused {
            reason: "Only tokens locked to the seller are taken here.".to_owned(),
        })
    }

    async fn pay_out(&self, _call: &CallId, _value: &PayOut) -> Result<String, String> {
        Err("a mint of play money makes no tokens for payers".to_owned())
    }
}

impl fmt::Debug for MemoryMint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMint")
            .field("url", &self.info.url)
            .finish_non_exhaustive()
    }
}

//! Makes challenges and recognises its own again, without a stored row.
//!
//! The id is HMAC-SHA256 over seven fields joined by `|`, as the specification
//! recommends. Nothing that a payer could choose stands in more than one way: realm,
//! method and intent are compared with ours before the HMAC is computed.
//!
//! <https://paymentauth.org/draft-httpauth-payment-00.html#section-5.1.2.1.1>

use std::fmt;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::credential::Credential;
use super::{decode, encode};
use crate::amount::Sat;
use crate::payment::PaymentHash;
use crate::scheme::ChallengeInvoice;

/// How long after `expires` a credential is still taken, for a payer whose call
/// failed or whose answer was lost. Seconds.
pub const GRACE_SECS: u64 = 300;
/// Keeps this use of the secret apart from every other; never an L402 identifier,
/// which is longer.
const KEY_LABEL: &[u8] = b"feria-paywall mpp challenge 1";
/// The realm when the one that was given has no letter that can stand in it.
const DEFAULT_REALM: &str = "paywall";
const METHOD: &str = "lightning";
const INTENT: &str = "charge";

/// Holds the key behind all challenges of one realm.
pub struct Issuer {
    key: Zeroizing<[u8; 32]>,
    realm: String,
}

/// What is sold: a payment opens this and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// The service.
    pub service: &'a str,
    /// The capability.
    pub capability: &'a str,
    /// The method of the request that is to be paid for.
    pub method: &'a str,
    /// Its path and query.
    pub target: &'a str,
}

/// What a credential is worth for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good for one call, if the payment was not used.
    Accepted {
        /// The payment.
        payment_hash: PaymentHash,
        /// The challenge.
        challenge_id: [u8; 32],
        /// What was paid.
        amount: Sat,
    },
    /// Not a challenge of ours, or changed since.
    Unknown,
    /// Past its end, grace included.
    Expired,
    /// Made for another service, method or target.
    OtherResource,
    /// The preimage does not belong to the invoice.
    WrongPreimage,
}

/// The `request` parameter. Fields are in the order of their names, so that it
/// serialises canonically.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    amount: String,
    currency: String,
    description: String,
    external_id: String,
    method_details: MethodDetails,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MethodDetails {
    invoice: String,
    network: String,
    payment_hash: String,
}

impl Issuer {
    /// Returns the issuer of `realm` under a key derived from `secret`. Letters that
    /// have a meaning in the header or in the id are left out of the realm.
    #[must_use]
    pub fn new(secret: &[u8; 32], realm: &str) -> Self {
        let realm: String = realm
            .chars()
            .filter(|letter| matches!(letter, ' '..='~') && !"\"\\|".contains(*letter))
            .collect();
        Self {
            key: Zeroizing::new(hmac(secret, KEY_LABEL)),
            realm: if realm.trim().is_empty() {
                DEFAULT_REALM.to_owned()
            } else {
                realm
            },
        }
    }

    /// Returns the challenge for `charge`, payable by `invoice` over `amount` until
    /// `expires_at` (Unix seconds). `None` when it cannot be written.
    #[must_use]
    pub fn challenge(
        &self,
        charge: &Charge<'_>,
        description: &str,
        invoice: &ChallengeInvoice,
        amount: Sat,
        expires_at: u64,
    ) -> Option<Challenge> {
        let request = Request {
            amount: amount.as_u64().to_string(),
            currency: "sat".to_owned(),
            description: description.to_owned(),
            external_id: charge.id(),
            method_details: MethodDetails {
                invoice: invoice.bolt11.clone(),
                network: network_of(&invoice.bolt11).to_owned(),
                payment_hash: invoice.payment_hash.to_string(),
            },
        };
        let mut challenge = Challenge {
            // Clients read parameters by pattern: a quote in one hides the next.
            description: Some(description.to_owned()).filter(|text| is_plain(text)),
            expires: Some(write_time(expires_at)?),
            intent: INTENT.to_owned(),
            method: METHOD.to_owned(),
            realm: self.realm.clone(),
            request: encode(serde_json::to_vec(&request).ok()?),
            ..Challenge::default()
        };
        challenge.id = encode(challenge_id(&*self.key, &challenge));
        Some(challenge)
    }

    /// Returns what `credential` is worth for `charge` at `now` (Unix seconds).
    #[must_use]
    pub fn verify(&self, credential: &Credential, charge: &Charge<'_>, now: u64) -> Verdict {
        let echo = &credential.challenge;
        if (
            echo.realm.as_str(),
            echo.method.as_str(),
            echo.intent.as_str(),
        ) != (self.realm.as_str(), METHOD, INTENT)
        {
            return Verdict::Unknown;
        }
        let Some(challenge_id) = self.recognise(echo) else {
            return Verdict::Unknown;
        };
        let Some((request, expires_at)) = read_own(echo) else {
            return Verdict::Unknown;
        };
        let (Ok(payment_hash), Ok(amount)) = (
            request.method_details.payment_hash.parse::<PaymentHash>(),
            request.amount.parse(),
        ) else {
            return Verdict::Unknown;
        };
        if !credential.preimage.opens(&payment_hash) {
            Verdict::WrongPreimage
        } else if now > expires_at.saturating_add(GRACE_SECS) {
            Verdict::Expired
        } else if request.external_id != charge.id() {
            Verdict::OtherResource
        } else {
            Verdict::Accepted {
                payment_hash,
                challenge_id,
                amount: Sat::new(amount),
            }
        }
    }

    /// Returns the id of a challenge of ours; compared in constant time.
    fn recognise(&self, echo: &Challenge) -> Option<[u8; 32]> {
        use subtle::ConstantTimeEq;

        let claimed: [u8; 32] = decode(&echo.id)?.try_into().ok()?;
        let expected = challenge_id(&*self.key, echo);
        bool::from(expected.ct_eq(&claimed)).then_some(claimed)
    }
}

impl Charge<'_> {
    /// Names what is sold, without saying it.
    fn id(&self) -> String {
        let mut digest = Sha256::new();
        for part in [self.service, self.capability, self.method, self.target] {
            // The length keeps two parts from being read as one.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        encode(digest.finalize())
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// Returns the id that binds everything `challenge` says but its description.
pub(super) fn challenge_id(key: &[u8], challenge: &Challenge) -> [u8; 32] {
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();
    let slots = [
        challenge.realm.clone(),
        challenge.method.clone(),
        challenge.intent.clone(),
        challenge.request.clone(),
        optional(&challenge.expires),
        optional(&challenge.digest),
        optional(&challenge.opaque),
    ];
    hmac(key, slots.join("|").as_bytes())
}

/// HMAC-SHA256. A key longer than a block is hashed first, as RFC 2104 says, so
/// that no length is an error.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    use hmac::digest::KeyInit;

    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    if key.len() <= block.len() {
        block[..key.len()].copy_from_slice(key);
    } else {
        block[..32].copy_from_slice(&Sha256::digest(key));
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block);
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Reads what this issuer wrote into a challenge whose id was recognised.
fn read_own(echo: &Challenge) -> Option<(Request, u64)> {
    let request = serde_json::from_slice(&decode(&echo.request)?).ok()?;
    let expires = OffsetDateTime::parse(echo.expires.as_deref()?, &Rfc3339).ok()?;
    Some((request, u64::try_from(expires.unix_timestamp()).ok()?))
}

fn write_time(unix_secs: u64) -> Option<String> {
    let seconds = i64::try_from(unix_secs).ok()?;
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    moment.format(&Rfc3339).ok()
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| matches!(letter, ' '..='~') && !"\"\\".contains(letter))
}

/// Returns the network by the invoice's prefix: after it comes the amount. Longer
/// prefixes first, since one is the beginning of another.
fn network_of(bolt11: &str) -> &'static str {
    let lower = bolt11.get(..6).unwrap_or(bolt11).to_ascii_lowercase();
    [
        ("lnbcrt", "regtest"),
        ("lntbs", "signet"),
        ("lntb", "testnet"),
        ("lnsb", "simnet"),
    ]
    .into_iter()
    .find_map(|(prefix, network)| lower.starts_with(prefix).then_some(network))
    .unwrap_or("mainnet")
}

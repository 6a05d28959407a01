//! How an invoice is made and a payment finds its payee.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::secp256k1::SecretKey;
use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};
use lightning_invoice::{Bolt11Invoice, Currency, InvoiceBuilder, PaymentSecret};

use super::book::{Book, Claim, Record};
use super::{Behaviour, Inner, MARK, SimulatedError};
use crate::clock::random_bytes;
use crate::lightning::{Invoice, PaymentState};

/// Longest invoice that is read, in bytes.
const MAX_BOLT11_BYTES: usize = 4_096;
/// Longest description that BOLT11 can carry, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 639;
/// What the invoices ask of the last hop; the usual value, without effect here.
const FINAL_CLTV_DELTA: u64 = 18;

/// What a payment waits for after it was handed over.
pub(super) enum Handed {
    Done(PaymentState),
    Silence,
    Later(Duration, PaymentHash),
}

impl Inner {
    pub(super) fn create_invoice(
        &self,
        account: &str,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, SimulatedError> {
        let now = self.clock.now();
        let mut book = self.book.lock();
        let key = node_key(book.root(), account)?;
        let payment_secret: [u8; 32] = random_bytes(self.entropy.as_ref());
        let payment_hash = preimage_of(&key, &payment_secret).payment_hash();
        let invoice = InvoiceBuilder::new(Currency::Regtest)
            .amount_milli_satoshis(amount.as_u64())
            .description(marked(description))
            .payment_hash(sha256::Hash::from_byte_array(*payment_hash.as_bytes()))
            .payment_secret(PaymentSecret(payment_secret))
            .duration_since_epoch(Duration::from_secs(now))
            .min_final_cltv_expiry_delta(FINAL_CLTV_DELTA)
            .expiry_time(expiry)
            .build_signed(|hash| self.secp.sign_ecdsa_recoverable(hash, &key))
            .map_err(|error| SimulatedError::Invoice(error.to_string()))?;
        let expires_at = now.saturating_add(expiry.as_secs());
        let record = Record::Invoice {
            payee: account.to_owned(),
            payment_hash: payment_hash.to_string(),
            expires_at,
        };
        book.note_invoice(&record, now)?;
        Ok(Invoice {
            bolt11: invoice.to_string(),
            payment_hash,
            expires_at,
        })
    }

    /// Checks and books a payment. What is refused here was never handed over
    /// and may be tried again.
    pub(super) fn hand_over(
        &self,
        payer: &str,
        bolt11: &str,
        fee_limit: Msat,
    ) -> Result<Handed, SimulatedError> {
        let (fee, is_down) = {
            let knobs = self.knobs.read();
            (knobs.fee, knobs.is_down)
        };
        if is_down {
            return Ok(Handed::Done(refused("the network is down")));
        }
        let Some(invoice) = parse(bolt11) else {
            return Ok(Handed::Done(refused("not a BOLT11 invoice")));
        };
        let hash = PaymentHash::new(invoice.payment_hash().to_byte_array());
        let mut book = self.book.lock();
        if let Some(first) = book.find_payment(payer, &hash) {
            return Ok(Handed::Done(first));
        }
        if fee > fee_limit {
            return Ok(Handed::Done(refused("routing costs more than the limit")));
        }
        let (payee, amount, preimage) = match self.payable(&book, payer, &invoice, fee) {
            Ok(payable) => payable,
            Err(reason) => return Ok(Handed::Done(refused(reason))),
        };
        let behaviour = self.knobs.read().behaviour_for(&payee);
        let told = match behaviour {
            Behaviour::WrongPreimage => Preimage::new(random_bytes(self.entropy.as_ref())),
            _ => preimage,
        };
        let held = Record::Held {
            payer: payer.to_owned(),
            payee: payee.to_string(),
            payment_hash: hash.to_string(),
            amount_msat: amount.as_u64(),
            fee_msat: fee.as_u64(),
            preimage: told.expose_hex(),
        };
        let ends = match behaviour {
            Behaviour::Succeed | Behaviour::Timeout | Behaviour::WrongPreimage => {
                vec![held, settled(payer, &hash)]
            }
            Behaviour::Fail => vec![held, failed(payer, &hash)],
            Behaviour::Pending | Behaviour::Delay(_) => vec![held],
        };
        book.commit(&ends)?;
        self.settled.send_replace(book.settled_count());
        Ok(match behaviour {
            Behaviour::Timeout => Handed::Silence,
            Behaviour::Delay(delay) => Handed::Later(delay, hash),
            _ => Handed::Done(
                book.find_payment(payer, &hash)
                    .unwrap_or(PaymentState::Pending),
            ),
        })
    }

    /// Returns the payee, the amount and the true preimage, or why not.
    fn payable(
        &self,
        book: &Book,
        payer: &str,
        invoice: &Bolt11Invoice,
        fee: Msat,
    ) -> Result<(Arc<str>, Msat, Preimage), &'static str> {
        let hash = PaymentHash::new(invoice.payment_hash().to_byte_array());
        let amount = invoice
            .amount_milli_satoshis()
            .ok_or("the invoice names no amount")?;
        let entry = book
            .find_invoice(&hash)
            .ok_or("no route: the payee is not in the simulated network")?;
        match entry.claim {
            Claim::Open => {}
            Claim::Held => return Err("another payment of this invoice is on its way"),
            Claim::Paid(_) => return Err("the invoice is already paid"),
        }
        if entry.expires_at <= self.clock.now() {
            return Err("the invoice has expired");
        }
        if *entry.payee == *payer {
            return Err("the payer is the payee");
        }
        let balance = book.balances().get(payer).copied().unwrap_or_default();
        if balance < amount.saturating_add(fee.as_u64()) {
            return Err("not enough money");
        }
        let preimage = node_key(book.root(), &entry.payee)
            .map(|key| preimage_of(&key, &invoice.payment_secret().0))
            .map_err(|_| "the payee has no key")?;
        // An invoice that somebody else signed over a known hash carries another secret.
        if !preimage.opens(&hash) {
            return Err("the payee does not know this invoice");
        }
        Ok((Arc::clone(&entry.payee), Msat::new(amount), preimage))
    }
}

fn parse(bolt11: &str) -> Option<Bolt11Invoice> {
    (bolt11.len() <= MAX_BOLT11_BYTES)
        .then(|| bolt11.parse().ok())
        .flatten()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    for part in parts {
        engine.input(part);
    }
    Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
}

fn node_key(root: &[u8; 32], account: &str) -> Result<SecretKey, SimulatedError> {
    SecretKey::from_slice(&mac(root, &[b"node", account.as_bytes()]))
        .map_err(|error| SimulatedError::Invoice(error.to_string()))
}

fn preimage_of(key: &SecretKey, payment_secret: &[u8; 32]) -> Preimage {
    Preimage::new(mac(&key.secret_bytes(), &[b"preimage", payment_secret]))
}

fn marked(description: &str) -> String {
    let mut text = format!("{MARK} {description}");
    let mut end = MAX_DESCRIPTION_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

pub(super) fn settled(payer: &str, hash: &PaymentHash) -> Record {
    Record::Settled {
        payer: payer.to_owned(),
        payment_hash: hash.to_string(),
    }
}

pub(super) fn failed(payer: &str, hash: &PaymentHash) -> Record {
    Record::Failed {
        payer: payer.to_owned(),
        payment_hash: hash.to_string(),
        reason: format!("{MARK} the payment failed on its way"),
    }
}

pub(super) fn refused(reason: &str) -> PaymentState {
    PaymentState::Failed {
        reason: format!("{MARK} {reason}"),
    }
}

pub(super) fn unknown(reason: &str) -> PaymentState {
    PaymentState::Unknown {
        reason: reason.to_owned(),
    }
}

//! Looks at a BOLT11 invoice before anybody pays it.
//!
//! Decodes with checksum and signature, never by pattern: clients that read the
//! amount with a regular expression pay two bitcoin for `lnbc2…`.
//!
//! <https://github.com/lightning/bolts/blob/master/11-payment-encoding.md>

use lightning_invoice::{Bolt11Invoice, Currency};

use crate::amount::{MAX_MSAT, Msat};
use crate::payment::PaymentHash;

/// Longest invoice that is read, in bytes. Those with many route hints take about 1,500.
pub const MAX_INVOICE_BYTES: usize = 8_192;

/// An invoice that is safe to pay as far as it can tell itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedInvoice {
    /// What the preimage must hash to.
    pub payment_hash: PaymentHash,
    /// What it asks for; at most the cap.
    pub amount: Msat,
    /// Unix seconds after which it cannot be paid.
    pub expires_at: u64,
    /// The payee's node key, 66 hexadecimal characters.
    pub payee: String,
    /// The network as the invoice spells it: `bc`, `tb`, `tbs`, `bcrt` or `sb`.
    pub network: &'static str,
}

/// Why an invoice must not be paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceRefusal {
    /// Not BOLT11, or a wrong checksum or signature.
    #[error("decode the invoice")]
    Undecodable,
    /// The payer would have to choose the amount.
    #[error("pay an invoice that names no amount")]
    Amountless,
    /// More than the payer allows.
    #[error("pay an invoice over {asked}: the cap is {cap}")]
    OverCap {
        /// What the invoice asks for.
        asked: Msat,
        /// What the payer allows.
        cap: Msat,
    },
    /// Too late.
    #[error("pay an invoice that expired at {expired_at}")]
    Expired {
        /// Unix seconds.
        expired_at: u64,
    },
}

/// Returns what `bolt11` asks for, if it is at most `cap` and still open at `now` (Unix seconds).
///
/// # Errors
/// When it must not be paid.
pub fn check_invoice(bolt11: &str, cap: Msat, now: u64) -> Result<CheckedInvoice, InvoiceRefusal> {
    if bolt11.len() > MAX_INVOICE_BYTES {
        return Err(InvoiceRefusal::Undecodable);
    }
    let invoice: Bolt11Invoice = bolt11
        .trim()
        .parse()
        .map_err(|_| InvoiceRefusal::Undecodable)?;
    let asked = invoice
        .amount_milli_satoshis()
        .filter(|amount| *amount > 0)
        .map(Msat::new)
        .ok_or(InvoiceRefusal::Amountless)?;
    if asked > cap || asked.as_u64() > MAX_MSAT {
        return Err(InvoiceRefusal::OverCap { asked, cap });
    }
    let expires_at = invoice
        .duration_since_epoch()
        .as_secs()
        .saturating_add(invoice.expiry_time().as_secs());
    if now >= expires_at {
        return Err(InvoiceRefusal::Expired {
            expired_at: expires_at,
        });
    }
    let hash: &[u8] = invoice.payment_hash().as_ref();
    let hash = hash.try_into().map_err(|_| InvoiceRefusal::Undecodable)?;
    Ok(CheckedInvoice {
        payment_hash: PaymentHash::new(hash),
        amount: asked,
        expires_at,
        payee: invoice.get_payee_pub_key().to_string(),
        network: network_of(&invoice),
    })
}

fn network_of(invoice: &Bolt11Invoice) -> &'static str {
    match invoice.currency() {
        Currency::Bitcoin => "bc",
        Currency::BitcoinTestnet => "tb",
        Currency::Signet => "tbs",
        Currency::Regtest => "bcrt",
        Currency::Simnet => "sb",
    }
}

#[cfg(test)]
mod tests;

//! Invoices that must not be paid, and one that may.

use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use lightning_invoice::{InvoiceBuilder, PaymentSecret, SignedRawBolt11Invoice};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

fn key() -> SecretKey {
    SecretKey::from_slice(&[42; 32]).unwrap()
}

fn invoice(amount_msat: Option<u64>, created_at: u64) -> String {
    let mut builder = InvoiceBuilder::new(Currency::Regtest)
        .description("test".to_owned())
        .payment_hash(sha256::Hash::from_byte_array([9; 32]))
        .payment_secret(PaymentSecret([0; 32]))
        .duration_since_epoch(Duration::from_secs(created_at))
        .expiry_time(Duration::from_secs(600))
        .min_final_cltv_expiry_delta(18);
    if let Some(amount) = amount_msat {
        builder = builder.amount_milli_satoshis(amount);
    }
    builder
        .build_signed(|message| Secp256k1::new().sign_ecdsa_recoverable(message, &key()))
        .unwrap()
        .to_string()
}

fn check(bolt11: &str) -> Result<CheckedInvoice, InvoiceRefusal> {
    check_invoice(bolt11, Msat::new(100_000), NOW)
}

#[test]
fn a_fair_invoice_is_read() {
    let checked = check(&invoice(Some(100_000), NOW)).unwrap();

    assert_eq!(checked.payment_hash, PaymentHash::new([9; 32]));
    assert_eq!(checked.amount, Msat::new(100_000));
    assert_eq!(checked.expires_at, NOW + 600);
    assert_eq!(checked.network, "bcrt");
    let payee = PublicKey::from_secret_key(&Secp256k1::new(), &key());
    assert_eq!(checked.payee, payee.to_string());
    assert_eq!(
        check(&invoice(Some(100_000), NOW).to_uppercase()),
        Ok(checked)
    );
}

#[test]
fn an_amountless_invoice_is_refused() {
    assert_eq!(check(&invoice(None, NOW)), Err(InvoiceRefusal::Amountless));
}

/// An invoice whose amount has no multiplier letter, which the builder never writes.
fn whole_bitcoin_invoice(bitcoin: u64) -> String {
    let signed: SignedRawBolt11Invoice = invoice(Some(1_000), NOW).parse().unwrap();
    let (mut raw, ..) = signed.into_parts();
    raw.hrp.raw_amount = Some(bitcoin);
    raw.hrp.si_prefix = None;
    raw.sign(|message| Ok::<_, ()>(Secp256k1::new().sign_ecdsa_recoverable(message, &key())))
        .unwrap()
        .to_string()
}

#[test]
fn a_whole_bitcoin_invoice_is_over_the_cap() {
    // Clients that read the amount by pattern see none here, and pay.
    let two_bitcoin = whole_bitcoin_invoice(2);
    assert!(two_bitcoin.starts_with("lnbcrt21"), "{two_bitcoin}");

    assert_eq!(
        check(&two_bitcoin),
        Err(InvoiceRefusal::OverCap {
            asked: Msat::new(200_000_000_000),
            cap: Msat::new(100_000)
        })
    );
}

#[test]
fn an_amount_beyond_all_bitcoin_is_refused() {
    let everything = whole_bitcoin_invoice(18_000_000);
    assert!(check_invoice(&everything, Msat::new(u64::MAX), NOW).is_ok());
    for bitcoin in [21_000_001, u64::MAX] {
        let refused = check_invoice(&whole_bitcoin_invoice(bitcoin), Msat::new(u64::MAX), NOW);
        assert!(refused.is_err(), "{bitcoin}");
    }
}

#[test]
fn one_millisatoshi_over_the_cap_is_refused() {
    assert!(matches!(
        check(&invoice(Some(100_001), NOW)),
        Err(InvoiceRefusal::OverCap { .. })
    ));
}

#[test]
fn an_expired_invoice_is_refused() {
    assert_eq!(
        check(&invoice(Some(1_000), NOW - 600)),
        Err(InvoiceRefusal::Expired { expired_at: NOW })
    );
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    let mut wrong_checksum = invoice(Some(1_000), NOW);
    wrong_checksum.pop();
    wrong_checksum.push('q');
    for text in [
        "",
        "lnbc",
        "lnbc1u1p",
        "lnbc99999999999999999999999m1pvjluez",
        &wrong_checksum,
        &"l".repeat(100_000),
    ] {
        assert_eq!(check(text), Err(InvoiceRefusal::Undecodable), "{text:.40}");
    }
}

proptest! {
    #[test]
    fn checking_never_panics(text in "(lnbc|lnbcrt|lntb)?[0-9]{0,22}[munp]?1?[a-z0-9]{0,120}") {
        let _ = check(&text);
    }

    #[test]
    fn a_changed_invoice_never_passes(at in 8..200_usize, letter in "[a-z0-9]") {
        let original = invoice(Some(1_000), NOW);
        if let Some(old) = original.get(at..=at) && old != letter {
            let mut changed = original.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert!(check(&changed).is_err());
        }
    }
}

//! Every form of a challenge, and every fault of one.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::{Identifier, InvoiceRefusal, Issuer};
use feria_paywall::payment::Preimage;
use feria_paywall::xcashu::request::{encode, to_creq_b};
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use secrecy::ExposeSecret;

use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::lightning::simulated::SimulatedNetwork;
use crate::spend::credential;

const NOW: u64 = 1_800_000_000;
const MINT: &str = "https://mint.example";

fn terms(sat: u64) -> CashuTerms {
    CashuTerms {
        amount: Sat::new(sat),
        unit: "sat".to_owned(),
        mints: vec![MINT.to_owned()],
        lock_key: None,
        min_locktime_secs: None,
    }
}

async fn invoice(sat: u64) -> (String, PaymentHash) {
    let network = SimulatedNetwork::open(
        None,
        Arc::new(ManualClock::at(NOW)),
        Arc::new(SeededEntropy::new(1)),
    )
    .unwrap();
    let made = network
        .create_invoice(
            "seller",
            Msat::new(sat * 1_000),
            "a call",
            Duration::from_secs(60),
        )
        .await
        .unwrap();
    (made.bolt11, made.payment_hash)
}

fn l402(hash: PaymentHash, bolt11: &str) -> HeaderMap {
    let token = l402_token(hash);
    header(&format!(r#"L402 macaroon="{token}", invoice="{bolt11}""#))
}

fn l402_token(hash: PaymentHash) -> String {
    let identifier = Identifier {
        payment_hash: hash,
        token_id: [3; 32],
    };
    let macaroon = Issuer::new(&[9; 32]).issue(&identifier, &[]).unwrap();
    macaroon.to_base64()
}

fn header(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
    headers
}

#[track_caller]
fn check_refused(headers: &HeaderMap, now: u64, part: &str) {
    let asked = Asked::read(headers, now);
    assert!(asked.is_empty());
    let faults: Vec<String> = asked.faults.iter().map(ToString::to_string).collect();
    let faults = faults.join("; ");
    assert!(faults.contains(part), "{faults}");
}

#[test]
fn a_402_without_a_usable_challenge_says_what_is_wrong() {
    check_refused(&HeaderMap::new(), NOW, "neither");
    check_refused(&header("Basic realm=\"x\""), NOW, "neither");
    check_refused(
        &header(r#"L402 macaroon="AAAA", invoice="lnbc1nonsense""#),
        NOW,
        "decode",
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-cashu", HeaderValue::from_static("creqAnonsense"));
    check_refused(&headers, NOW, "nut24");
}

#[tokio::test]
async fn an_invoice_of_another_payment_is_dropped() {
    let (bolt11, hash) = invoice(10).await;

    let asked = Asked::read(&l402(hash, &bolt11), NOW);
    assert_eq!(asked.price(), Msat::new(10_000));

    check_refused(
        &l402(PaymentHash::new([1; 32]), &bolt11),
        NOW,
        "another payment",
    );
    check_refused(&l402(hash, &bolt11), NOW + 61, "expired");
}

#[tokio::test]
async fn an_opaque_token_is_kept_as_it_is_and_known_as_one() {
    let (bolt11, hash) = invoice(10).await;
    // The form of a published server: no comma after the version, no macaroon.
    let opaque = format!(r#"LSAT version="0" token="abc.def", invoice="{bolt11}""#);
    let bound = l402(hash, &bolt11);

    let opaque = Asked::read(&header(&opaque), NOW).invoice.unwrap();
    let bound = Asked::read(&bound, NOW).invoice.unwrap();

    assert_eq!(opaque.bolt11, bolt11);
    assert_eq!(opaque.token.unwrap().expose_secret(), "abc.def");
    assert_eq!(opaque.binding, Binding::Opaque);
    assert_eq!(bound.binding, Binding::Checked);
}

#[tokio::test]
async fn an_identifier_of_32_bytes_binds_if_it_is_the_hash() {
    let (bolt11, hash) = invoice(10).await;
    let challenge = |identifier: [u8; 32]| {
        let macaroon = Issuer::new(&[9; 32]).issue_bytes(&identifier, &[]).unwrap();
        let token = macaroon.to_base64();
        header(&format!(r#"L402 macaroon="{token}", invoice="{bolt11}""#))
    };

    let same = Asked::read(&challenge(*hash.as_bytes()), NOW);
    let random = Asked::read(&challenge([5; 32]), NOW);

    assert_eq!(same.invoice.unwrap().binding, Binding::Checked);
    assert_eq!(random.invoice.unwrap().binding, Binding::Opaque);
}

/// Every form of `WWW-Authenticate` that a server of the field writes.
#[tokio::test]
async fn each_dialect_of_a_challenge_is_read() {
    let (bolt11, hash) = invoice(10).await;
    let macaroon = l402_token(hash);
    let url_safe = macaroon.replace('+', "-").replace('/', "_");
    let bare = url_safe.trim_end_matches('=').to_owned();
    let forms = [
        format!(r#"L402 macaroon="{macaroon}", invoice="{bolt11}""#),
        format!(r#"LSAT macaroon="{macaroon}", invoice="{bolt11}""#),
        format!(r#"l402 macaroon="{macaroon}", invoice="{bolt11}""#),
        format!(r#"L402 version="0", token="{macaroon}", invoice="{bolt11}""#),
        format!(
            r#"L402 macaroon="{macaroon}", invoice="{bolt11}", version="0", token="{macaroon}""#
        ),
        format!(r#"L402 version="0" token="{macaroon}", invoice="{bolt11}""#),
        format!(r#"L402 invoice="{bolt11}", macaroon="{macaroon}""#),
        format!(r#"L402 macaroon="{macaroon}",invoice="{bolt11}""#),
        format!(r#"L402 macaroon={macaroon} invoice={bolt11}"#),
        format!(r#"L402 macaroon="{url_safe}", invoice="{bolt11}""#),
        format!(r#"L402 macaroon="{bare}", invoice="{bolt11}""#),
        format!(
            r#"Bearer realm="x", L402 macaroon="{macaroon}", invoice="{bolt11}", Basic realm="y""#
        ),
        format!(r#"L402 macaroon="{macaroon}", invoice="{bolt11}", later="unknown""#),
    ];
    for form in forms {
        let asked = Asked::read(&header(&form), NOW).invoice;

        let asked = asked.unwrap_or_else(|| panic!("{form}"));
        assert_eq!(asked.invoice.payment_hash, hash, "{form}");
        assert_eq!(asked.binding, Binding::Checked, "{form}");
        // Byte for byte: what the server wrote goes back to it.
        let token = asked.token.unwrap();
        assert!(form.contains(token.expose_secret()), "{form}");
    }
}

#[tokio::test]
async fn of_several_invoices_the_cheapest_is_kept() {
    let (dear, dear_hash) = invoice(12).await;
    let (fair, fair_hash) = invoice(10).await;
    let mut headers = l402(dear_hash, &dear);
    for (_, value) in &l402(fair_hash, &fair) {
        headers.append(WWW_AUTHENTICATE, value.clone());
    }
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("L402 macaroon=\"x\", invoice=\"lnbc1\""),
    );

    let asked = Asked::read(&headers, NOW);

    assert_eq!(asked.invoice.map(|asked| asked.bolt11), Some(fair));
    assert_eq!(asked.faults.len(), 1);
}

#[tokio::test]
async fn a_payment_challenge_is_read_and_compared_with_its_invoice() {
    let (bolt11, hash) = invoice(10).await;
    let charge = |amount: u64, hash: PaymentHash, method: &str, intent: &str| {
        let request = serde_json::json!({
            "amount": amount.to_string(),
            "currency": "sat",
            "methodDetails": {"invoice": bolt11, "paymentHash": hash.to_string()},
        });
        let request = URL_SAFE_NO_PAD.encode(request.to_string());
        header(&format!(
            r#"Payment id="n1", realm="r", method="{method}", intent="{intent}", request="{request}""#
        ))
    };

    let asked = Asked::read(&charge(10, hash, "lightning", "charge"), NOW);

    let invoiced = asked.invoice.unwrap();
    assert_eq!(
        (invoiced.scheme, invoiced.bolt11.clone()),
        (Scheme::Mpp, bolt11.clone())
    );
    let (name, value) = credential::header(
        invoiced.scheme,
        invoiced.token.unwrap().expose_secret(),
        &Preimage::new([7; 32]),
    )
    .unwrap();
    let mut sent = HeaderMap::new();
    sent.insert(name, value);
    let read = mpp::credential_of(&sent).unwrap().unwrap();
    assert_eq!(
        (read.challenge.id.as_str(), read.preimage.expose()),
        ("n1", &[7; 32])
    );
    check_refused(
        &charge(9, hash, "lightning", "charge"),
        NOW,
        "another amount",
    );
    let other = PaymentHash::new([1; 32]);
    check_refused(
        &charge(10, other, "lightning", "charge"),
        NOW,
        "another payment",
    );
    check_refused(&charge(10, hash, "tempo", "charge"), NOW, "not a charge");
    check_refused(
        &charge(10, hash, "lightning", "session"),
        NOW,
        "not a charge",
    );
}

#[test]
fn each_fault_of_a_challenge_has_a_word_of_its_own() {
    let faults = [
        ChallengeFault::Nothing,
        ChallengeFault::Invoice(InvoiceRefusal::Undecodable),
        ChallengeFault::Invoice(InvoiceRefusal::Amountless),
        ChallengeFault::Invoice(InvoiceRefusal::Expired { expired_at: 1 }),
        ChallengeFault::ForeignMacaroon,
        ChallengeFault::Token,
        ChallengeFault::Payment("x"),
        ChallengeFault::Request("x".to_owned()),
        ChallengeFault::Unit("usd".to_owned()),
    ];
    let words: std::collections::HashSet<&str> = faults.iter().map(ChallengeFault::code).collect();

    assert_eq!(words.len(), faults.len());
}

#[test]
fn a_cashu_request_is_read_in_either_form() {
    for request in [
        encode(&terms(21), "id").unwrap(),
        to_creq_b(&terms(21), "id").unwrap(),
        to_creq_b(&terms(21), "id").unwrap().to_lowercase(),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-cashu", HeaderValue::from_str(&request).unwrap());

        let asked = Asked::read(&headers, NOW);

        assert_eq!(asked.requests, [terms(21)], "{request}");
    }
}

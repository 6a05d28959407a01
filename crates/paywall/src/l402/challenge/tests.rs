//! Every challenge form of the field, and noise.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use proptest::prelude::*;

use super::*;
use crate::l402::{Caveat, Issuer};

const TOKEN: &str = "AgEEbHNhdAJC+/8=";
const INVOICE: &str = "lnbc1u1p";

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
    }
    headers
}

#[track_caller]
fn check(row: &str, lines: &[&str], expected: &[(&str, &str)]) {
    let found = Challenge::parse_all(&headers(lines));
    let found: Vec<_> = found
        .iter()
        .map(|challenge| (challenge.token.as_str(), challenge.invoice.as_str()))
        .collect();
    assert_eq!(found, expected, "row {row}");
}

#[test]
fn every_dialect_of_the_field_is_read() {
    let one = [(TOKEN, INVOICE)];
    check(
        "A: Aperture, dual lines",
        &[
            r#"LSAT macaroon="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p""#,
            r#"L402 macaroon="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p""#,
        ],
        &one,
    );
    check(
        "B: the spec's version 0",
        &[r#"L402 version="0", token="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p""#],
        &one,
    );
    check(
        "C: ours",
        &[
            r#"L402 macaroon="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p", version="0", token="AgEEbHNhdAJC+/8=""#,
        ],
        &one,
    );
    check(
        "D: version first",
        &[r#"L402 version="0", macaroon="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p""#],
        &one,
    );
    check(
        "E: Alby's server, no comma and an opaque token",
        &[r#"L402 version="0" token="eyJhIjoxfQ.00ffAA", invoice="lnbc1u1p""#],
        &[("eyJhIjoxfQ.00ffAA", INVOICE)],
    );
    check(
        "F: lower case",
        &[r#"l402 macaroon="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p""#],
        &one,
    );
    check(
        "G: invoice first",
        &[r#"L402 invoice="lnbc1u1p", macaroon="AgEEbHNhdAJC+/8=""#],
        &one,
    );
    check(
        "H: URL-safe base64, kept byte for byte",
        &[r#"L402 macaroon="AgEEbHNhdAJC-_8=", invoice="lnbc1u1p""#],
        &[("AgEEbHNhdAJC-_8=", INVOICE)],
    );
    check(
        "M: no space after the comma",
        &[r#"L402 macaroon="AgEEbHNhdAJC+/8=",invoice="lnbc1u1p""#],
        &one,
    );
    check(
        "unquoted values",
        &["LSAT macaroon=AgEEbHNhdAJC+/8=, invoice=lnbc1u1p"],
        &one,
    );
    check(
        "spaces around the equals sign",
        &[r#"L402 Macaroon = "AgEEbHNhdAJC+/8=" , Invoice= "lnbc1u1p""#],
        &one,
    );
}

#[test]
fn other_schemes_beside_are_passed_over() {
    let one = [(TOKEN, INVOICE)];
    let l402 = r#"L402 macaroon="AgEEbHNhdAJC+/8=", invoice="lnbc1u1p""#;
    let payment = r#"Payment id="x", realm="L402 macaroon=no", method="lightning", intent="charge", request="e30=""#;
    check("I: then Payment", &[l402, payment], &one);
    check("J: Payment first", &[payment, l402], &one);
    let merged = format!("{l402}, {payment}");
    check("K: merged", &[&merged], &one);
    let merged = format!("{payment}, {l402}");
    check("K: merged the other way", &[&merged], &one);
    check("L: Payment only", &[payment], &[]);
    check(
        "an older Payment dialect",
        &[r#"Payment method="lightning", invoice="lnbc1u1p""#],
        &[],
    );
    check("price only", &["L402 price-only"], &[]);
    check("Bearer", &[r#"Bearer realm="x", Negotiate abc=="#], &[]);
}

#[test]
fn two_offers_are_two_challenges() {
    check(
        "two",
        &[
            r#"L402 macaroon="a", invoice="lnbc1", L402 macaroon="b", invoice="lnbc2""#,
            r#"LSAT token="a", invoice="lnbc1""#,
        ],
        &[("a", "lnbc1"), ("b", "lnbc2")],
    );
}

#[test]
fn incomplete_challenges_are_none() {
    check("no invoice", &[r#"L402 macaroon="a""#], &[]);
    check("no token", &[r#"L402 invoice="lnbc1""#], &[]);
    check("empty", &[r#"L402 macaroon="", invoice="lnbc1""#], &[]);
    check("unclosed", &[r#"L402 invoice="lnbc1", macaroon=""#], &[]);
    let long = format!(r#"L402 macaroon="{}", invoice="lnbc1""#, "a".repeat(70_000));
    check("too long", &[&long], &[]);
}

#[test]
fn our_challenge_names_its_payment_and_reads_back() {
    let identifier = Identifier {
        payment_hash: PaymentHash::new([9; 32]),
        token_id: [8; 32],
    };
    let caveat = Caveat::new("services", "weather:0").unwrap();
    let macaroon = Issuer::new(&[1; 32]).issue(&identifier, &[caveat]).unwrap();
    let challenge = Challenge::new(&macaroon, INVOICE);
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, challenge.header_value().unwrap());

    let found = Challenge::parse_all(&headers);

    assert_eq!(found, [challenge]);
    assert_eq!(found[0].token_payment_hash(), Some(identifier.payment_hash));
    let text = headers[WWW_AUTHENTICATE].to_str().unwrap();
    let token = macaroon.to_base64();
    assert_eq!(
        text,
        format!(r#"L402 macaroon="{token}", invoice="{INVOICE}", version="0", token="{token}""#)
    );
    assert!(!format!("{:?}", found[0]).contains(&token));
}

proptest! {
    #[test]
    fn parsing_never_panics(
        line in prop_oneof![
            "[ -~]{0,200}",
            r#"(L402|LSAT|Payment|token|invoice|macaroon|"|=|,| |a){0,40}"#,
        ]
    ) {
        if let Ok(value) = line.parse::<HeaderValue>() {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, value);
            for challenge in Challenge::parse_all(&headers) {
                prop_assert!(line.contains(&challenge.token));
                prop_assert!(line.contains(&challenge.invoice));
            }
        }
    }

    #[test]
    fn reading_gives_back_what_was_written(
        token in "[A-Za-z0-9+/=_.-]{1,60}",
        invoice in "ln[a-z0-9]{1,60}",
    ) {
        let challenge = Challenge { token, invoice };
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, challenge.header_value().unwrap());
        prop_assert_eq!(Challenge::parse_all(&headers), vec![challenge]);
    }
}

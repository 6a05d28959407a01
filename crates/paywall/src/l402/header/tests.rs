//! What clients send in `Authorization`, and noise.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::l402::Issuer;

fn macaroon() -> Macaroon {
    // Chosen so that its base64 holds characters that differ between the alphabets.
    Issuer::new(&[3; 32])
        .issue_bytes(b"??>>??>>~~", &[])
        .unwrap()
}

fn headers(values: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    headers
}

#[track_caller]
fn check(values: &[String], expected: &str) {
    let found = parse_authorization(&headers(values));
    let found = match found {
        Authorization::L402 {
            macaroons,
            preimage,
        } => {
            assert!(
                macaroons
                    .iter()
                    .all(|found| found.as_bytes() == macaroon().as_bytes())
            );
            assert_eq!(preimage.expose(), &[0xab; 32]);
            format!("L402 {}", macaroons.len())
        }
        other => format!("{other:?}"),
    };
    assert_eq!(found, expected, "{values:?}");
}

#[test]
fn every_spelling_of_a_credential_is_read() {
    let standard = macaroon().to_base64();
    let url_safe = macaroon().to_base64_url();
    assert_ne!(standard.trim_end_matches('='), url_safe);
    let (lower, upper) = ("ab".repeat(32), "AB".repeat(32));
    for scheme in ["L402", "l402", "LSAT", "lsat"] {
        for macaroon in [&standard, &url_safe] {
            for preimage in [&lower, &upper] {
                check(&[format!("{scheme} {macaroon}:{preimage}")], "L402 1");
            }
        }
    }
    check(&[format!("L402 {standard},{url_safe}:{lower}")], "L402 2");
    check(
        &[format!("LSAT {standard}:{lower}, L402 {standard}:{lower}")],
        "L402 1",
    );
}

#[test]
fn other_schemes_do_not_hide_a_credential() {
    let good = format!("L402 {}:{}", macaroon().to_base64(), "ab".repeat(32));
    let bearer = "Bearer abc".to_owned();
    check(&[good.clone(), bearer.clone()], "L402 1");
    check(&[bearer.clone(), good.clone()], "L402 1");
    check(&["L402 broken".to_owned(), good.clone()], "L402 1");
    check(&["Cashu cashuBabc".to_owned(), good], "L402 1");
    check(&[bearer], "None");
    check(&[], "None");
}

#[test]
fn cashu_counts_when_there_is_no_credential() {
    check(&["Cashu cashuBabc".to_owned()], "Cashu(..)");
    check(
        &["L402 broken".to_owned(), "cashu cashuBabc".to_owned()],
        "Cashu(..)",
    );
}

#[test]
fn what_cannot_be_read_is_malformed() {
    let standard = macaroon().to_base64();
    let preimage = "ab".repeat(32);
    check(&[format!("L402 {standard}")], "Malformed(Form)");
    check(&[format!("L402 {standard}:abcd")], "Malformed(Preimage)");
    check(&[format!("L402 {standard}:")], "Malformed(Preimage)");
    check(
        &[format!("L402 AAAA:{preimage}")],
        "Malformed(Macaroon(Format))",
    );
    check(
        &[format!("L402 :{preimage}")],
        "Malformed(Macaroon(Format))",
    );
    check(
        &[format!("L402 {}:{preimage}", "A".repeat(70_000))],
        "Malformed(TooLong)",
    );
    let many = [standard.as_str(); 5].join(",");
    check(
        &[format!("L402 {many}:{preimage}")],
        "Malformed(Macaroon(TooLong))",
    );
}

#[test]
fn the_client_writes_what_the_server_reads() {
    let preimage = Preimage::new([0xab; 32]);
    check(
        &[credential_value(&macaroon().to_base64(), &preimage)],
        "L402 1",
    );
}

proptest! {
    #[test]
    fn reading_never_panics(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "(L402|LSAT|Cashu|:|,| |ab|=|\t){0,30}".prop_map(String::into_bytes),
        ]
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value);
            let _ = parse_authorization(&headers);
        }
    }
}

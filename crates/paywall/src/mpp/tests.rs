//! The field's vectors, every way a credential can be wrong, and noise.

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;

use super::issuer::challenge_id;
use super::*;
use crate::amount::Sat;
use crate::journal::CallId;
use crate::payment::{PaymentHash, Preimage};
use crate::scheme::ChallengeInvoice;

const NOW: u64 = 1_800_000_000;
const CHARGE: Charge<'_> = Charge {
    service: "echo",
    capability: "say",
    method: "POST",
    target: "/say?loud=1",
};

fn vectors() -> Value {
    let text = include_str!("../../../../tests/vectors/mpp-payment.json");
    serde_json::from_str(text).unwrap()
}

fn list(name: &str) -> Vec<Value> {
    vectors()[name].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn headers(line: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        WWW_AUTHENTICATE,
        HeaderValue::from_bytes(line.as_bytes()).unwrap(),
    );
    headers
}

fn issuer() -> Issuer {
    Issuer::new(&[5; 32], "seller.example")
}

fn preimage() -> Preimage {
    Preimage::new([9; 32])
}

fn challenge() -> Challenge {
    let invoice = ChallengeInvoice {
        bolt11: "lnbcrt20n1example".to_owned(),
        payment_hash: preimage().payment_hash(),
    };
    issuer()
        .challenge(&CHARGE, "Says it \"back\"", &invoice, Sat::new(2), NOW + 60)
        .unwrap()
}

fn verdict(change: impl FnOnce(&mut Credential), charge: &Charge<'_>, now: u64) -> Verdict {
    let mut credential = Credential {
        challenge: challenge(),
        preimage: preimage(),
    };
    change(&mut credential);
    // Over the wire and back, as every credential comes.
    let value = credential.expose_value().unwrap();
    let read = Credential::parse(value.strip_prefix("Payment ").unwrap()).unwrap();
    issuer().verify(&read, charge, now)
}

#[test]
fn ids_are_those_of_the_vectors() {
    let secret = hex::decode(text(&vectors()["hmacSecretHex"])).unwrap();
    for case in list("challengeIds") {
        let challenge: Challenge = serde_json::from_value(case["params"].clone()).unwrap();
        let id = encode(challenge_id(&secret, &challenge));
        assert_eq!(id, challenge.id, "{}", case["name"]);
    }
}

#[test]
fn challenges_are_written_and_read_as_the_vectors_say() {
    for case in list("challengeHeaders") {
        let challenge: Challenge = serde_json::from_value(case["params"].clone()).unwrap();
        let value = challenge.header_value().unwrap();
        assert_eq!(value.as_bytes(), text(&case["header"]).as_bytes());
        let read = Challenge::parse_all(&headers(text(&case["header"])));
        assert_eq!(read, [challenge], "{}", case["name"]);
    }
    for case in list("challengeLists") {
        let read = Challenge::parse_all(&headers(text(&case["header"])));
        let expected: Vec<Challenge> = case.get("challenges").map_or_else(Vec::new, |value| {
            serde_json::from_value(value.clone()).unwrap()
        });
        assert_eq!(read, expected, "{}", case["name"]);
    }
}

#[test]
fn base64url_is_strict_as_the_vectors_say() {
    for case in list("base64url") {
        let expected = case
            .get("decodedHex")
            .map(|hex| hex::decode(text(hex)).unwrap());
        assert_eq!(decode(text(&case["encoded"])), expected, "{}", case["name"]);
    }
}

#[test]
fn credentials_are_refused_as_the_vectors_say() {
    for case in list("rejectedCredentials") {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, text(&case["header"]).parse().unwrap());
        let found = credential_of(&headers);
        assert!(matches!(found, None | Some(Err(_))), "{}", case["name"]);
    }
}

#[test]
fn receipts_are_read_as_the_vectors_say() {
    for case in list("receipts") {
        let receipt = Receipt::parse(text(&case["header"])).unwrap();
        let expected: Receipt = serde_json::from_str(text(&case["receiptJson"])).unwrap();
        assert_eq!(receipt, expected, "{}", case["name"]);
    }
    assert_eq!(Receipt::parse("0123456789abcdef0123456789abcdef"), None);
}

#[test]
fn a_challenge_says_what_to_pay_in_canonical_json() {
    let challenge = challenge();

    let request = String::from_utf8(decode(&challenge.request).unwrap()).unwrap();
    let reordered: std::collections::BTreeMap<String, Value> =
        serde_json::from_str(&request).unwrap();
    assert_eq!(serde_json::to_string(&reordered).unwrap(), request);
    assert_eq!(reordered["amount"], "2");
    assert_eq!(reordered["currency"], "sat");
    assert_eq!(reordered["description"], "Says it \"back\"");
    assert_eq!(
        reordered["methodDetails"],
        serde_json::json!({
            "invoice": "lnbcrt20n1example",
            "network": "regtest",
            "paymentHash": preimage().payment_hash().to_string(),
        })
    );
    assert_eq!(challenge.expires.as_deref(), Some("2027-01-15T08:01:00Z"));
    // A quote in a parameter hides the next one from clients that read by pattern.
    assert_eq!(challenge.description, None);
    assert_eq!((challenge.digest, challenge.opaque), (None, None));
}

#[test]
fn what_was_paid_opens_what_it_was_made_for() {
    let accepted = verdict(|_| (), &CHARGE, NOW);

    let id = decode(&challenge().id).unwrap();
    assert_eq!(
        accepted,
        Verdict::Accepted {
            payment_hash: preimage().payment_hash(),
            challenge_id: id.try_into().unwrap(),
            amount: Sat::new(2),
        }
    );
    for other in [
        Charge {
            service: "other",
            ..CHARGE
        },
        Charge {
            capability: "shout",
            ..CHARGE
        },
        Charge {
            method: "GET",
            ..CHARGE
        },
        Charge {
            target: "/say?loud=2",
            ..CHARGE
        },
    ] {
        assert_eq!(verdict(|_| (), &other, NOW), Verdict::OtherResource);
    }
    let wrong = verdict(|paid| paid.preimage = Preimage::new([1; 32]), &CHARGE, NOW);
    assert_eq!(wrong, Verdict::WrongPreimage);
}

#[test]
fn a_payer_has_a_grace_and_no_more() {
    let last = NOW + 60 + GRACE_SECS;
    assert!(matches!(
        verdict(|_| (), &CHARGE, last),
        Verdict::Accepted { .. }
    ));
    assert_eq!(verdict(|_| (), &CHARGE, last + 1), Verdict::Expired);
}

#[test]
fn nothing_in_the_echo_can_be_changed() {
    let later = || Some("2099-01-15T08:01:00Z".to_owned());
    let cheaper = || {
        let request = String::from_utf8(decode(&challenge().request).unwrap()).unwrap();
        encode(request.replace("\"amount\":\"2\"", "\"amount\":\"1\""))
    };
    type Change = fn(&mut Challenge, String);
    let changes: [(&str, Change); 4] = [
        ("id", |echo, other| echo.id = other),
        ("realm", |echo, other| echo.realm = other),
        ("method", |echo, other| echo.method = other),
        ("intent", |echo, other| echo.intent = other),
    ];
    for (name, change) in changes {
        for other in [String::new(), "x".to_owned(), encode([0; 32])] {
            let found = verdict(|paid| change(&mut paid.challenge, other), &CHARGE, NOW);
            assert_eq!(found, Verdict::Unknown, "{name}");
        }
    }
    for change in [
        &|echo: &mut Challenge| echo.expires = later(),
        &|echo: &mut Challenge| echo.expires = None,
        &|echo: &mut Challenge| echo.request = cheaper(),
        &|echo: &mut Challenge| echo.digest = Some(String::from("sha-256=:AA==:")),
        &|echo: &mut Challenge| echo.opaque = Some(String::from("e30")),
    ] as [&dyn Fn(&mut Challenge); 5]
    {
        let found = verdict(|paid| change(&mut paid.challenge), &CHARGE, NOW);
        assert_eq!(found, Verdict::Unknown);
    }
    // What nothing is decided by may be left out, as published clients do.
    let found = verdict(|paid| paid.challenge.description = None, &CHARGE, NOW);
    assert!(matches!(found, Verdict::Accepted { .. }));
}

#[test]
fn another_secret_or_realm_is_another_issuer() {
    let credential = Credential {
        challenge: challenge(),
        preimage: preimage(),
    };
    for other in [
        Issuer::new(&[6; 32], "seller.example"),
        Issuer::new(&[5; 32], "other.example"),
    ] {
        assert_eq!(
            other.verify(&credential, &CHARGE, NOW),
            Verdict::Unknown,
            "{other:?}"
        );
    }
}

#[test]
fn a_realm_cannot_break_the_header() {
    let issuer = Issuer::new(&[5; 32], "a\"|\\\r\nü b");
    let invoice = ChallengeInvoice {
        bolt11: "lnbc1".to_owned(),
        payment_hash: PaymentHash::new([1; 32]),
    };
    let challenge = issuer
        .challenge(&CHARGE, "plain", &invoice, Sat::new(1), NOW)
        .unwrap();
    assert_eq!(challenge.realm, "a b");
    assert_eq!(challenge.description.as_deref(), Some("plain"));
    let value = challenge.header_value().unwrap();
    assert_eq!(
        Challenge::parse_all(&headers(value.to_str().unwrap())),
        [challenge]
    );
}

#[test]
fn a_receipt_names_the_payment_and_not_its_proof() {
    let call = CallId("call-1".to_owned());
    let hash = preimage().payment_hash();

    let receipt = Receipt::new(&call, &[3; 32], &hash, NOW).unwrap();

    let value = receipt.header_value().unwrap();
    let json = String::from_utf8(decode(&value).unwrap()).unwrap();
    assert_eq!(
        json,
        format!(
            r#"{{"call":"call-1","challengeId":"{}","method":"lightning","reference":"{hash}","status":"success","timestamp":"2027-01-15T08:00:00Z"}}"#,
            encode([3; 32])
        )
    );
    assert_eq!(Receipt::parse(&value), Some(receipt));
}

#[test]
fn nothing_shows_the_preimage() {
    let credential = Credential {
        challenge: challenge(),
        preimage: preimage(),
    };
    assert!(!format!("{credential:?} {:?}", issuer()).contains(&preimage().expose_hex()));
}

#[test]
fn an_invoice_names_its_network() {
    for (bolt11, network) in [
        ("lnbc20u1p", "mainnet"),
        ("LNBCRT20U1P", "regtest"),
        ("lntbs1p", "signet"),
        ("lntb1p", "testnet"),
        ("lnsb1p", "simnet"),
        ("é", "mainnet"),
    ] {
        let invoice = ChallengeInvoice {
            bolt11: bolt11.to_owned(),
            payment_hash: PaymentHash::new([1; 32]),
        };
        let challenge = issuer().challenge(&CHARGE, "", &invoice, Sat::new(1), NOW);
        let request = decode(&challenge.unwrap().request).unwrap();
        let request: Value = serde_json::from_slice(&request).unwrap();
        assert_eq!(request["methodDetails"]["network"], network);
    }
}

proptest! {
    #[test]
    fn reading_a_credential_never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        json in r#"\{"challenge":\{("id":"[a-z]{0,4}",?)?("realm":null)?\},"payload":\{("preimage":"[0-9a-f]{0,70}")?\}\}"#,
    ) {
        let _ = Credential::parse(&String::from_utf8_lossy(&noise));
        let _ = Credential::parse(&encode(noise));
        let _ = Credential::parse(&encode(json));
    }

    #[test]
    fn a_credential_prints_what_it_parses(
        texts in proptest::collection::vec("\\PC{0,20}", 5),
        optional in proptest::collection::vec(proptest::option::of("\\PC{0,20}"), 4),
        bytes in any::<[u8; 32]>(),
    ) {
        let [id, realm, method, intent, request] = <[String; 5]>::try_from(texts).unwrap();
        let [description, digest, expires, opaque] =
            <[Option<String>; 4]>::try_from(optional).unwrap();
        let challenge = Challenge {
            description, digest, expires, id, intent, method, opaque, realm, request,
        };
        let credential = Credential { challenge, preimage: Preimage::new(bytes) };
        let value = credential.expose_value().unwrap();
        let read = Credential::parse(value.strip_prefix("Payment ").unwrap()).unwrap();
        prop_assert_eq!(&read.challenge, &credential.challenge);
        prop_assert_eq!(read.preimage.expose(), credential.preimage.expose());
    }

    #[test]
    fn a_challenge_reads_back_as_it_was_written(
        id in "[ -~]{1,20}",
        realm in "[ -~é]{0,20}",
        description in proptest::option::of("[ -~\t]{0,20}"),
    ) {
        let challenge = Challenge {
            id,
            realm,
            description,
            method: "lightning".to_owned(),
            intent: "charge".to_owned(),
            request: "e30".to_owned(),
            ..Challenge::default()
        };
        let value = challenge.header_value().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, value);
        prop_assert_eq!(Challenge::parse_all(&headers), [challenge]);
    }

    #[test]
    fn reading_a_challenge_never_panics(line in "(Payment )?[ -~]{0,200}") {
        let _ = Challenge::parse_all(&headers(&line));
    }
}

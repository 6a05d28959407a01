//! Requests as written by us and by others.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;

/// Read by cashu-ts in `tests/interop`.
const VECTORS: &str = include_str!("../../../../../tests/vectors/payment-requests.json");
const KEY: &str = "026562efcfadc8e86d44da6a8adf80633d974302e62c850774db1fb36ff4cc7198";

fn terms() -> CashuTerms {
    CashuTerms {
        amount: Sat::new(21),
        unit: "sat".to_owned(),
        mints: vec!["https://mint.example".to_owned()],
        lock_key: Some(KEY.to_owned()),
        min_locktime_secs: Some(3_600),
    }
}

fn json(text: &str) -> String {
    format!("creqA{}", URL_SAFE_NO_PAD.encode(text))
}

#[test]
fn both_encodings_read_back() {
    let creq_a = encode(&terms(), "id-1").unwrap();
    let creq_b = to_creq_b(&terms(), "id-1").unwrap();

    assert!(creq_a.starts_with("creqA"));
    assert!(creq_b.starts_with("CREQB1"));
    assert_eq!(parse(&creq_a), Ok(terms()));
    assert_eq!(parse(&creq_b), Ok(terms()));
    assert_eq!(parse(&creq_b.to_lowercase()), Ok(terms()));
}

#[test]
fn the_shared_requests_are_what_is_written_and_read() {
    let file: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let requests = file["requests"].as_array().unwrap();
    assert!(!requests.is_empty());
    for vector in requests {
        let text = |name: &str| vector[name].as_str().map(str::to_owned);
        let terms = CashuTerms {
            amount: Sat::new(vector["amount_sat"].as_u64().unwrap()),
            unit: "sat".to_owned(),
            mints: serde_json::from_value(vector["mints"].clone()).unwrap(),
            lock_key: text("lock_key"),
            min_locktime_secs: vector["min_locktime_secs"].as_u64(),
        };
        let id = text("id").unwrap();

        assert_eq!(encode(&terms, &id).ok(), text("creq_a"));
        assert_eq!(to_creq_b(&terms, &id).ok(), text("creq_b"));
        for form in ["creq_a", "creq_b"] {
            assert_eq!(parse(&text(form).unwrap()), Ok(terms.clone()));
        }
    }
}

#[test]
fn json_behind_creq_a_is_tolerated() {
    let text = json(&format!(
        r#"{{"a":21,"u":"sat","m":["https://mint.example"],"nut10":{{"k":"P2PK","d":"{KEY}","t":[["{MIN_LOCKTIME_TAG}","3600"]]}}}}"#
    ));
    assert_eq!(parse(&text), Ok(terms()));
    let plain = parse(&json(r#"{"a":1,"u":"sat","m":[]}"#)).unwrap();
    assert_eq!((plain.amount, plain.lock_key), (Sat::new(1), None));
}

#[test]
fn a_request_of_the_specification_is_read() {
    // NUT-18's first example: a Nostr transport, which a 402 cannot ask for.
    let text = "creqApWF0gaNhdGVub3N0cmFheKlucHJvZmlsZTFxeTI4d3VtbjhnaGo3dW45ZDNzaGp0bnl2OWtoMnVld2Q5aHN6OW1od2RlbjV0ZTB3ZmprY2N0ZTljdXJ4dmVuOWVlaHFjdHJ2NWhzenJ0aHdkZW41dGUwZGVoaHh0bnZkYWtxcWd5ZGFxeTdjdXJrNDM5eWtwdGt5c3Y3dWRoZGh1NjhzdWNtMjk1YWtxZWZkZWhrZjBkNDk1Y3d1bmw1YWeBgmFuYjE3YWloYjdhOTAxNzZhYQphdWNzYXRhbYF4Imh0dHBzOi8vbm9mZWVzLnRlc3RudXQuY2FzaHUuc3BhY2U=";
    assert_eq!(parse(text), Err(RequestError::Transport));
}

#[test]
fn requests_that_we_cannot_meet_are_refused_before_paying() {
    let lock = |kind: &str, data: &str, tags: &str| {
        json(&format!(
            r#"{{"a":1,"u":"sat","m":[],"nut10":{{"k":"{kind}","d":"{data}","t":{tags}}}}}"#
        ))
    };
    let unsupported = Err(RequestError::UnsupportedLock);
    assert_eq!(parse(&lock("HTLC", KEY, "[]")), unsupported);
    assert_eq!(parse(&lock("P2PK", "nonsense", "[]")), unsupported);
    assert_eq!(
        parse(&lock("P2PK", KEY, r#"[["sigflag","SIG_ALL"]]"#)),
        unsupported
    );
    assert_eq!(
        parse(&lock("P2PK", KEY, r#"[["n_sigs","2"]]"#)),
        unsupported
    );
    assert!(parse(&lock("P2PK", KEY, r#"[["sigflag","SIG_INPUTS"]]"#)).is_ok());

    assert_eq!(
        parse(&json(r#"{"u":"sat","m":[]}"#)),
        Err(RequestError::Amount)
    );
    assert_eq!(
        parse(&json(r#"{"a":0,"u":"sat","m":[]}"#)),
        Err(RequestError::Amount)
    );
    assert_eq!(
        parse(&json(r#"{"a":18446744073709551615,"u":"sat","m":[]}"#)),
        Err(RequestError::Amount)
    );
    assert_eq!(parse("creqA!!!"), Err(RequestError::Undecodable));
    assert_eq!(parse(&"c".repeat(20_000)), Err(RequestError::TooLong));
}

proptest! {
    #[test]
    fn parsing_never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        text in "(creqA|creqb1|CREQB1)[A-Za-z0-9_=-]{0,100}",
    ) {
        let _ = parse(&text);
        let _ = parse(&format!("creqA{}", URL_SAFE_NO_PAD.encode(noise)));
    }

    #[test]
    fn reading_gives_back_what_was_written(
        amount in 1..2_000_000_000_000_000_u64,
        locked in any::<bool>(),
        secs in proptest::option::of(0..10_000_000_u64),
        hosts in proptest::collection::vec("[a-z]{1,12}", 0..4),
    ) {
        let terms = CashuTerms {
            amount: Sat::new(amount),
            unit: "sat".to_owned(),
            mints: hosts.iter().map(|host| format!("https://{host}.example")).collect(),
            lock_key: locked.then(|| KEY.to_owned()),
            min_locktime_secs: secs.filter(|_| locked),
        };
        prop_assert_eq!(parse(&encode(&terms, "x").unwrap()), Ok(terms.clone()));
        prop_assert_eq!(parse(&to_creq_b(&terms, "x").unwrap()), Ok(terms));
    }
}

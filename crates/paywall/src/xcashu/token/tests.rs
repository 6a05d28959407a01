//! Tokens of others, broken ones, and noise.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use proptest::prelude::*;

use super::*;
use crate::xcashu::header::{X_CASHU, token_of};

/// NUT-00's example of version 3: 2 and 8 sat.
const V3: &str = r#"{"token":[{"mint":"https://8333.space:3338","proofs":[{"amount":2,"id":"009a1f293253e41e","secret":"407915bc212be61a77e3e6d2aeb4c727980bda51cd06a6afc29e2861768a7837","C":"02bc9097997d81afb2cc7346b5e4345a9346bd2a506eb7958598a72f0cf85163ea"},{"amount":8,"id":"009a1f293253e41e","secret":"fe15109314e61d7756b0f8ee0f23a624acaa3f4e042f61433c728c7057b931be","C":"029e8e5050b890a7d6c0968db16bc1d5d5fa040ea1de284f6ec69d61299f671059"}]}],"unit":"sat","memo":"Thank you."}"#;
/// NUT-00's example of version 4.
const V4: &str = "cashuBpGF0gaJhaUgArSaMTR9YJmFwgaNhYQFhc3hAOWE2ZGJiODQ3YmQyMzJiYTc2ZGIwZGYxOTcyMTZiMjlkM2I4Y2MxNDU1M2NkMjc4MjdmYzFjYzk0MmZlZGI0ZWFjWCEDhhhUP_trhpXfStS6vN6So0qWvc2X3O4NfM-Y1HISZ5JhZGlUaGFuayB5b3VhbXVodHRwOi8vbG9jYWxob3N0OjMzMzhhdWNzYXQ=";

fn v3(json: &str) -> String {
    format!("cashuA{}", URL_SAFE_NO_PAD.encode(json))
}

#[track_caller]
fn refuses(text: &str, expected: &TokenError) {
    assert_eq!(parse(text, 10_000).err().as_ref(), Some(expected));
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let old = parse(&v3(V3), 10_000).unwrap();
    assert_eq!(old.mint, "https://8333.space:3338");
    assert_eq!((old.unit.as_str(), old.amount), ("sat", Sat::new(10)));
    assert_eq!((old.proofs_len, old.is_locked), (2, false));

    let new = parse(V4, 10_000).unwrap();
    assert_eq!(new.mint, "http://localhost:3338");
    assert_eq!((new.proofs_len, new.amount), (1, Sat::new(1)));
    assert_eq!(new.text, V4);
    assert!(!format!("{new:?}").contains("9a6dbb"));
}

#[test]
fn a_lock_is_seen() {
    let locked = V3.replacen(
        "407915bc212be61a77e3e6d2aeb4c727980bda51cd06a6afc29e2861768a7837",
        r#"[\"P2PK\",{\"nonce\":\"1\",\"data\":\"x\"}]"#,
        1,
    );
    assert!(parse(&v3(&locked), 10_000).unwrap().is_locked);
}

#[test]
fn broken_tokens_are_refused() {
    let secret = "407915bc212be61a77e3e6d2aeb4c727980bda51cd06a6afc29e2861768a7837";
    let other = "fe15109314e61d7756b0f8ee0f23a624acaa3f4e042f61433c728c7057b931be";
    refuses(&v3(&V3.replace(other, secret)), &TokenError::DuplicateProof);
    refuses(
        &v3(&V3.replace("\"amount\":8", "\"amount\":18446744073709551615")),
        &TokenError::Amount,
    );
    let empty = r#"{"token":[{"mint":"https://a.example","proofs":[]}],"unit":"sat"}"#;
    refuses(&v3(empty), &TokenError::Amount);
    let two = r#"{"token":[{"mint":"https://a.example","proofs":[]},{"mint":"https://b.example","proofs":[]}]}"#;
    refuses(&v3(two), &TokenError::SeveralMints);
    for text in [
        "", "cashuA", "cashuB", "cashuC", "creqA", "cashuB!!", "lnbc1",
    ] {
        refuses(text, &TokenError::Undecodable);
    }
    let long = format!("cashuB{}", "A".repeat(10_000));
    refuses(
        &long,
        &TokenError::TooLong {
            found: long.len(),
            max: 10_000,
        },
    );
}

#[test]
fn keysets_of_an_unknown_version_are_refused() {
    // Version 02 is the BLS proposal: its signatures are not ours to check.
    refuses(
        &v3(&V3.replace("009a1f293253e41e", "029a1f293253e41e")),
        &TokenError::Undecodable,
    );
}

#[test]
fn both_headers_carry_a_token() {
    let mut headers = HeaderMap::new();
    assert!(token_of(&headers).is_none());
    headers.insert(AUTHORIZATION, format!("Cashu {V4}").parse().unwrap());
    assert_eq!(token_of(&headers).unwrap().unwrap().proofs_len, 1);
    headers.insert(X_CASHU, v3(V3).parse().unwrap());
    assert_eq!(token_of(&headers).unwrap().unwrap().proofs_len, 2);
    headers.insert(X_CASHU, "nonsense".parse().unwrap());
    assert!(token_of(&headers).unwrap().is_err());
}

proptest! {
    #[test]
    fn parsing_never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        text in "cashu[AB][A-Za-z0-9_=-]{0,200}",
        flip in 6..V4.len(),
        letter in "[A-Za-z0-9_-]",
    ) {
        let _ = parse(&text, 10_000);
        let _ = parse(&format!("cashuA{}", URL_SAFE_NO_PAD.encode(&noise)), 10_000);
        let _ = parse(&format!("cashuB{}", URL_SAFE_NO_PAD.encode(&noise)), 10_000);
        let mut near = V4.to_owned();
        near.replace_range(flip..=flip, &letter);
        let _ = parse(&near, 10_000);
    }

    #[test]
    fn reading_a_lock_never_panics(
        text in prop_oneof![
            "\\PC{0,100}",
            r#"\["P2PK",\{"nonce":"a","data":"[0-9a-f]{0,66}","tags":\[(\["(locktime|n_sigs|pubkeys|refund|sigflag)"(,"[0-9a-f+_]{0,4}"){0,2}\],?){0,3}\]\}\]"#,
        ]
    ) {
        let _ = Lock::of(&cashu::secret::Secret::new(text));
    }
}

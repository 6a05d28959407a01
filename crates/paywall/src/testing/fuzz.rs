//! One entry per parser: bytes in, and a panic if the parser breaks a promise.
//!
//! The promises: no panic, what was parsed prints as it was read, and nothing
//! above a cap is taken. The fuzz targets in `fuzz/` call these with what
//! libFuzzer finds; the tests call them with the [`corpus`](super::corpus).

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::amount::{MAX_MSAT, Msat};
use crate::l402::header::{Authorization, MAX_HEADER_BYTES, credential_value, parse_authorization};
use crate::l402::macaroon::MAX_MACAROON_BYTES;
use crate::l402::{Caveat, Challenge, Identifier, Macaroon, check_invoice};
use crate::mpp;

/// A parser's entry: it panics when a promise is broken.
pub type Entry = fn(&[u8]);
/// Makes inputs for a parser: a seed, and how many.
pub type Corpus = fn(u64, usize) -> Vec<Vec<u8>>;

/// Every target: its name, its entry and its inputs.
pub const TARGETS: &[(&str, Entry, Corpus)] = &[
    ("authorization", authorization, super::corpus::authorization),
    (
        "www_authenticate",
        www_authenticate,
        super::corpus::www_authenticate,
    ),
    ("macaroon", macaroon, super::corpus::macaroon),
    ("identifier", identifier, super::corpus::identifier),
    ("caveat", caveat, super::corpus::caveat),
    ("invoice", invoice, super::corpus::invoice),
    (
        "mpp_credential",
        mpp_credential,
        super::corpus::mpp_credential,
    ),
    #[cfg(feature = "cashu")]
    ("x_cashu", x_cashu, super::corpus::x_cashu),
    #[cfg(feature = "cashu")]
    (
        "payment_request",
        payment_request,
        super::corpus::payment_request,
    ),
    #[cfg(feature = "cashu")]
    ("token", token, super::corpus::token),
];

/// `Authorization` of a request.
pub fn authorization(input: &[u8]) {
    let Some(headers) = header(AUTHORIZATION, input) else {
        return;
    };
    match parse_authorization(&headers) {
        Authorization::L402 {
            macaroons,
            preimage,
        } => {
            assert!((1..=4).contains(&macaroons.len()));
            for macaroon in macaroons {
                let value = credential_value(&macaroon.to_base64(), &preimage);
                let again = header(AUTHORIZATION, value.as_bytes());
                let again = again.map(|headers| parse_authorization(&headers));
                let Some(Authorization::L402 {
                    macaroons,
                    preimage: same,
                }) = again
                else {
                    unreachable!("a credential that was read is not read again");
                };
                assert_eq!(macaroons[0].as_bytes(), macaroon.as_bytes());
                assert_eq!(same.expose(), preimage.expose());
            }
        }
        Authorization::Cashu(text) => assert!(text.len() <= MAX_HEADER_BYTES),
        Authorization::None | Authorization::Malformed(_) => {}
    }
}

/// `WWW-Authenticate` of a 402.
pub fn www_authenticate(input: &[u8]) {
    let Some(headers) = header(WWW_AUTHENTICATE, input) else {
        return;
    };
    for challenge in mpp::Challenge::parse_all(&headers) {
        if let Ok(value) = challenge.header_value()
            && value.len() <= MAX_HEADER_BYTES
            && let Some(headers) = header(WWW_AUTHENTICATE, value.as_bytes())
        {
            assert_eq!(mpp::Challenge::parse_all(&headers), [challenge]);
        }
    }
    let found = Challenge::parse_all(&headers);
    assert!(found.len() <= 16);
    assert!(found.is_empty() || input.len() <= MAX_HEADER_BYTES);
    for challenge in found {
        let _ = challenge.token_payment_hash();
        let is_quotable = !challenge.token.contains('"') && !challenge.invoice.contains('"');
        if let (true, Ok(value)) = (is_quotable, challenge.header_value())
            && value.len() <= MAX_HEADER_BYTES
            && let Some(headers) = header(WWW_AUTHENTICATE, value.as_bytes())
        {
            assert_eq!(Challenge::parse_all(&headers), [challenge]);
        }
    }
}

/// A macaroon, as bytes and as text.
pub fn macaroon(input: &[u8]) {
    if let Ok(macaroon) = Macaroon::from_bytes(input) {
        assert_eq!(macaroon.as_bytes(), input);
        assert!(input.len() <= MAX_MACAROON_BYTES);
        let _ = macaroon.caveats();
        for text in [macaroon.to_base64(), macaroon.to_base64_url()] {
            let again = Macaroon::parse(&text);
            assert!(again.is_ok_and(|again| again.as_bytes() == input));
        }
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(macaroon) = Macaroon::parse(text)
    {
        assert!(macaroon.as_bytes().len() <= MAX_MACAROON_BYTES);
    }
}

/// The identifier of a macaroon.
pub fn identifier(input: &[u8]) {
    if let Ok(identifier) = Identifier::decode(input) {
        assert_eq!(identifier.encode(), input);
    }
}

/// One caveat.
pub fn caveat(input: &[u8]) {
    if let Ok(caveat) = Caveat::parse(input) {
        assert_eq!(caveat.to_string().as_bytes(), input);
        assert!(input.len() <= crate::l402::caveat::MAX_CAVEAT_BYTES);
    }
}

/// `Authorization` by the scheme `Payment`, verified by somebody else than its issuer.
pub fn mpp_credential(input: &[u8]) {
    let Some(headers) = header(AUTHORIZATION, input) else {
        return;
    };
    let Some(Ok(credential)) = mpp::credential_of(&headers) else {
        return;
    };
    assert!(input.len() <= MAX_HEADER_BYTES);
    let written = credential.expose_value();
    let again = written
        .ok()
        .and_then(|value| header(AUTHORIZATION, value.as_bytes()))
        .and_then(|headers| mpp::credential_of(&headers)?.ok());
    assert!(again.is_some_and(|again| {
        again.challenge == credential.challenge
            && again.preimage.expose() == credential.preimage.expose()
    }));
    let charge = mpp::Charge {
        service: "echo",
        capability: "say",
        method: "GET",
        target: "/",
    };
    let verdict = mpp::Issuer::new(&[8; 32], "seller.example").verify(&credential, &charge, 0);
    assert_eq!(verdict, mpp::Verdict::Unknown);
}

/// An invoice before it is paid.
pub fn invoice(input: &[u8]) {
    let cap = Msat::new(1_000_000);
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(checked) = check_invoice(text, cap, 0)
    {
        assert!(checked.amount > Msat::ZERO && checked.amount <= cap);
        assert!(text.len() <= crate::l402::invoice::MAX_INVOICE_BYTES);
    }
}

/// `X-Cashu` of a request.
#[cfg(feature = "cashu")]
pub fn x_cashu(input: &[u8]) {
    let Some(headers) = header(crate::xcashu::header::X_CASHU, input) else {
        return;
    };
    if let Some(Ok(token)) = crate::xcashu::token_of(&headers) {
        examine(&token);
    }
}

/// A payment request, as a buyer may get it.
#[cfg(feature = "cashu")]
pub fn payment_request(input: &[u8]) {
    use crate::xcashu::request::{MAX_REQUEST_BYTES, encode, parse, to_creq_b};

    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(terms) = parse(text) else { return };
    assert!(text.len() <= MAX_REQUEST_BYTES);
    assert!(terms.amount.to_msat() > Msat::ZERO && terms.amount.as_u64() <= MAX_MSAT / 1_000);
    for written in [encode(&terms, "1"), to_creq_b(&terms, "1")] {
        if let Ok(written) = written
            && written.len() <= MAX_REQUEST_BYTES
        {
            assert_eq!(parse(&written).as_ref(), Ok(&terms), "{written}");
        }
    }
}

/// A token, and the offline check of what could be read.
#[cfg(feature = "cashu")]
pub fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(token) = crate::xcashu::token::parse(text, MAX_HEADER_BYTES) {
        assert!(text.len() <= MAX_HEADER_BYTES);
        assert_eq!(token.text, text);
        examine(&token);
    }
}

/// No token of a corpus is good: nobody knows a mint that signed it.
#[cfg(feature = "cashu")]
fn examine(token: &crate::xcashu::ParsedToken) {
    use crate::xcashu::cashu::nuts::SecretKey;
    use crate::xcashu::strict::{OfflineVerdict, Policy, check};

    assert!(token.proofs_len > 0);
    assert!(token.amount.as_u64() <= MAX_MSAT / 1_000);
    let Ok(key) = SecretKey::from_slice(&[1; 32]) else {
        return;
    };
    let mint = crate::xcashu::MintInfo {
        url: token.mint.clone(),
        enforces_p2pk: true,
        keysets: Vec::new(),
    };
    let policy = Policy {
        mints: &[mint],
        lock_key: &key.public_key(),
        price: crate::amount::Sat::new(1),
        now: 0,
        redeem_window_secs: 60,
    };
    assert!(!matches!(check(token, &policy), OfflineVerdict::Accept(_)));
}

/// Returns headers with `value` in them; `None` when HTTP itself refuses it.
fn header(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(name, value);
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::corpus;

    #[test]
    fn every_parser_survives_its_corpus() {
        for (name, entry, make) in TARGETS {
            let inputs = make(20_26, 2_000);
            assert_eq!(inputs.len(), 2_000, "{name}");
            for input in inputs {
                entry(&input);
                entry(&corpus::header_safe(input));
            }
        }
    }

    /// The stored seeds are those that libFuzzer starts from. `FERIA_UPDATE_CORPUS=1`
    /// writes them again.
    #[test]
    fn the_stored_seeds_are_current_and_every_parser_survives_them() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let is_update = std::env::var_os("FERIA_UPDATE_CORPUS").is_some();
        for (name, entry, make) in TARGETS {
            let folder = folder.join(name);
            if is_update {
                std::fs::create_dir_all(&folder).unwrap();
            }
            for (number, seed) in make(0, 8).into_iter().enumerate() {
                let path = folder.join(format!("{number:02}"));
                if is_update {
                    std::fs::write(&path, &seed).unwrap();
                }
                let stored = std::fs::read(&path).unwrap();
                assert_eq!(stored, seed, "stale: {}", path.display());
                entry(&stored);
            }
        }
    }

    /// The fuzz crate is a workspace of its own: nothing else would notice that a
    /// target is missing there.
    #[test]
    fn every_target_is_in_the_fuzz_crate() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let targets = std::fs::read_dir(folder.join("fuzz_targets")).unwrap();
        #[cfg(feature = "cashu")]
        assert_eq!(targets.count(), TARGETS.len());
        for (name, ..) in TARGETS {
            assert!(manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")));
            let target = folder.join(format!("fuzz_targets/{name}.rs"));
            let text = std::fs::read_to_string(target).unwrap();
            assert!(text.contains(&format!("fuzz::{name}(input)")));
        }
    }

    /// A corpus of nothing but refusals would test the first line of a parser only.
    #[test]
    fn the_corpus_reaches_the_inside_of_the_parsers() {
        let read = |inputs: Vec<Vec<u8>>, is_read: &dyn Fn(&[u8]) -> bool| {
            let read = inputs.iter().filter(|input| is_read(input)).count();
            assert!(read > 20, "only {read} of {}", inputs.len());
            assert!(read < inputs.len(), "nothing is malformed");
        };
        read(corpus::authorization(1, 1_000), &|input| {
            header(AUTHORIZATION, input).is_some_and(|headers| {
                matches!(
                    parse_authorization(&headers),
                    Authorization::L402 { .. } | Authorization::Cashu(_)
                )
            })
        });
        read(corpus::www_authenticate(1, 1_000), &|input| {
            header(WWW_AUTHENTICATE, input)
                .is_some_and(|headers| !Challenge::parse_all(&headers).is_empty())
        });
        read(corpus::macaroon(1, 1_000), &|input| {
            Macaroon::from_bytes(input).is_ok()
        });
        #[cfg(feature = "cashu")]
        read(corpus::token(1, 1_000), &|input| {
            std::str::from_utf8(input)
                .is_ok_and(|text| crate::xcashu::token::parse(text, MAX_HEADER_BYTES).is_ok())
        });
        #[cfg(feature = "cashu")]
        read(corpus::payment_request(1, 1_000), &|input| {
            std::str::from_utf8(input).is_ok_and(|text| crate::xcashu::request::parse(text).is_ok())
        });
    }
}

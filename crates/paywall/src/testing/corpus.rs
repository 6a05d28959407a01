//! Broken input for every parser of the crate: real values, and mutations of them.
//!
//! The same seed gives the same inputs, so a failure can be repeated. Half of the
//! mutations happen inside of what base64 wraps, where the second parser sits.
//! An input may still be well-formed; none is worth money.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use feria_paywall::testing::corpus;
//!
//! let values = corpus::authorization(7, 100);
//! assert_eq!(values, corpus::authorization(7, 100));
//! let sendable: Vec<Vec<u8>> = values.into_iter().map(corpus::header_safe).collect();
//! # let _ = sendable;
//! # }
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::amount::Sat;
use crate::l402::{Caveat, Identifier, Issuer};
use crate::mpp::{self, Charge};
use crate::payment::{PaymentHash, Preimage};
use crate::scheme::ChallengeInvoice;

/// Longest input, in bytes: above every cap of the crate.
const MAX_INPUT_BYTES: usize = 96 * 1_024;

/// NUT-00's example of version 3: 2 and 8 sat.
const TOKEN_V3: &str = r#"{"token":[{"mint":"https://8333.space:3338","proofs":[{"amount":2,"id":"009a1f293253e41e","secret":"407915bc212be61a77e3e6d2aeb4c727980bda51cd06a6afc29e2861768a7837","C":"02bc9097997d81afb2cc7346b5e4345a9346bd2a506eb7958598a72f0cf85163ea"},{"amount":8,"id":"009a1f293253e41e","secret":"fe15109314e61d7756b0f8ee0f23a624acaa3f4e042f61433c728c7057b931be","C":"029e8e5050b890a7d6c0968db16bc1d5d5fa040ea1de284f6ec69d61299f671059"}]}],"unit":"sat","memo":"Thank you."}"#;
/// A locked proof as an old wallet writes it; the signature is made up.
const TOKEN_LOCKED: &str = r#"{"token":[{"mint":"https://mint.example","proofs":[{"amount":4,"id":"009a1f293253e41e","secret":"[\"P2PK\",{\"nonce\":\"00\",\"data\":\"026562efcfadc8e86d44da6a8adf80633d974302e62c850774db1fb36ff4cc7198\",\"tags\":[[\"locktime\",\"1900000000\"],[\"refund\",\"02bc9097997d81afb2cc7346b5e4345a9346bd2a506eb7958598a72f0cf85163ea\"]]}]","C":"02bc9097997d81afb2cc7346b5e4345a9346bd2a506eb7958598a72f0cf85163ea"}]}],"unit":"sat"}"#;
/// NUT-00's example of version 4, after `cashuB`.
const TOKEN_V4: &str = "pGF0gaJhaUgArSaMTR9YJmFwgaNhYQFhc3hAOWE2ZGJiODQ3YmQyMzJiYTc2ZGIwZGYxOTcyMTZiMjlkM2I4Y2MxNDU1M2NkMjc4MjdmYzFjYzk0MmZlZGI0ZWFjWCEDhhhUP_trhpXfStS6vN6So0qWvc2X3O4NfM-Y1HISZ5JhZGlUaGFuayB5b3VhbXVodHRwOi8vbG9jYWxob3N0OjMzMzhhdWNzYXQ";
/// A payment request in the JSON that two servers of the field write.
const REQUEST_JSON: &str = r#"{"i":"1","a":21,"u":"sat","m":["https://mint.example"],"nut10":{"k":"P2PK","d":"026562efcfadc8e86d44da6a8adf80633d974302e62c850774db1fb36ff4cc7198","t":[["min_locktime_secs","3600"]]}}"#;
/// The same by NUT-18, after `creqA`: id, amount, unit, single use, mints.
const REQUEST_CBOR: &str = "pWFpYTFhYRVhdWNzYXRhc_VhbYF0aHR0cHM6Ly9taW50LmV4YW1wbGU";
/// BOLT11's example of a cup of coffee; it expired long ago.
const INVOICE: &str = "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpuaztrnwngzn3kdzw5hydlzf03qdgm2hdq27cqv3agm2awhz5se903vruatfhq77w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rspfj9srp";

/// Fragments that parsers look for.
const WORDS: &[&[u8]] = &[
    b":",
    b",",
    b"=",
    b"\"",
    b"\\",
    b" ",
    b"\t",
    b"{",
    b"}",
    b"[[",
    b"null",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"L402 ",
    b"LSAT ",
    b"Cashu ",
    b"Payment ",
    b"cashuA",
    b"cashuB",
    b"creqA",
    b"CREQB1",
    b"uses=",
    b"services=",
    b"\xff\xff\xff\xff",
    b"\x9f\xff",
    b"\x00\x00",
    b"\xc3\x28",
    "é".as_bytes(),
];

/// How the inner bytes of a sample are written.
#[derive(Clone, Copy)]
enum Coding {
    Plain,
    Standard,
    UrlSafe,
}

/// A real value, taken apart.
struct Sample {
    before: String,
    inner: Vec<u8>,
    coding: Coding,
    after: String,
}

impl Sample {
    fn plain(text: impl AsRef<[u8]>) -> Self {
        Self {
            before: String::new(),
            inner: text.as_ref().to_vec(),
            coding: Coding::Plain,
            after: String::new(),
        }
    }

    fn coded(before: &str, inner: impl AsRef<[u8]>, coding: Coding, after: &str) -> Self {
        Self {
            before: before.to_owned(),
            inner: inner.as_ref().to_vec(),
            coding,
            after: after.to_owned(),
        }
    }

    /// Returns the value with `inner` in the place of its own inner bytes.
    fn around(&self, inner: &[u8]) -> Vec<u8> {
        let inner = match self.coding {
            Coding::Plain => inner.to_vec(),
            Coding::Standard => STANDARD.encode(inner).into_bytes(),
            Coding::UrlSafe => URL_SAFE_NO_PAD.encode(inner).into_bytes(),
        };
        [self.before.as_bytes(), &inner, self.after.as_bytes()].concat()
    }
}

/// Returns `n` values for `Authorization`.
#[must_use]
pub fn authorization(seed: u64, n: usize) -> Vec<Vec<u8>> {
    let preimage = format!(":{}", Preimage::new([1; 32]).expose_hex());
    let both = format!(",{}{preimage}", STANDARD.encode(macaroon_bytes()));
    let samples = [
        Sample::coded("L402 ", macaroon_bytes(), Coding::Standard, &preimage),
        Sample::coded("lsat  ", macaroon_bytes(), Coding::UrlSafe, &preimage),
        Sample::coded("L402 ", macaroon_bytes(), Coding::Standard, &both),
        Sample::coded("Cashu cashuB", v4(), Coding::UrlSafe, ""),
        Sample::coded("Payment ", credential_json(), Coding::UrlSafe, ""),
        Sample::plain("Bearer abc.def"),
        Sample::plain(format!(
            "Payment method=\"lightning\", preimage=\"{}\"",
            &preimage[1..]
        )),
    ];
    make(&samples, seed, n)
}

/// Returns `n` values for `WWW-Authenticate`, as a buyer may get them.
#[must_use]
pub fn www_authenticate(seed: u64, n: usize) -> Vec<Vec<u8>> {
    let token = STANDARD.encode(macaroon_bytes());
    let rest = format!("\", invoice=\"{INVOICE}\", version=\"0\", token=\"{token}\"");
    let samples = [
        Sample::coded(
            "L402 macaroon=\"",
            macaroon_bytes(),
            Coding::Standard,
            &rest,
        ),
        Sample::plain(format!("LSAT macaroon={token}, invoice={INVOICE}")),
        Sample::plain(format!(
            "L402 version=\"0\" token=\"{token}\", invoice=\"{INVOICE}\""
        )),
        Sample::plain(format!(
            "Basic realm=\"a\", L402 macaroon=\"{token}\",invoice=\"{INVOICE}\", Payment id=\"a\", realm=\"say \\\"L402\\\"\", method=\"lightning\""
        )),
    ];
    make(&samples, seed, n)
}

/// Returns `n` values for `X-Cashu`: tokens, and what is not one.
#[must_use]
pub fn x_cashu(seed: u64, n: usize) -> Vec<Vec<u8>> {
    let mut samples = tokens();
    samples.extend(requests());
    make(&samples, seed, n)
}

/// Returns `n` macaroons in their binary form.
#[must_use]
pub fn macaroon(seed: u64, n: usize) -> Vec<Vec<u8>> {
    make(&[Sample::plain(macaroon_bytes())], seed, n)
}

/// Returns `n` identifiers of macaroons.
#[must_use]
pub fn identifier(seed: u64, n: usize) -> Vec<Vec<u8>> {
    make(&[Sample::plain(sample_identifier().encode())], seed, n)
}

/// Returns `n` caveats.
#[must_use]
pub fn caveat(seed: u64, n: usize) -> Vec<Vec<u8>> {
    let samples = [
        "services=echo:0",
        "echo_capabilities=say",
        "echo_valid_until=1900000000",
        "uses=3",
        "path_prefix=/v1",
        "sats=21",
        "balance_msat=4000",
        "note=for b",
    ]
    .map(Sample::plain);
    make(&samples, seed, n)
}

/// Returns `n` payment requests, `creqA…` and `CREQB1…`.
#[must_use]
pub fn payment_request(seed: u64, n: usize) -> Vec<Vec<u8>> {
    make(&requests(), seed, n)
}

/// Returns `n` tokens, `cashuA…` and `cashuB…`; some are far too long.
#[must_use]
pub fn token(seed: u64, n: usize) -> Vec<Vec<u8>> {
    make(&tokens(), seed, n)
}

/// Returns `n` values for `Authorization` by the scheme `Payment`.
#[must_use]
pub fn mpp_credential(seed: u64, n: usize) -> Vec<Vec<u8>> {
    let samples = [
        Sample::coded("Payment ", credential_json(), Coding::UrlSafe, ""),
        Sample::coded("payment  ", credential_json(), Coding::UrlSafe, "="),
        Sample::plain(format!(
            "Payment method=\"lightning\", preimage=\"{}\"",
            Preimage::new([1; 32]).expose_hex()
        )),
    ];
    make(&samples, seed, n)
}

/// Returns `n` BOLT11 invoices, as a buyer may get them.
#[must_use]
pub fn invoice(seed: u64, n: usize) -> Vec<Vec<u8>> {
    make(&[Sample::plain(INVOICE)], seed, n)
}

/// Returns `input` with the bytes replaced that no HTTP client can send in a header.
#[must_use]
pub fn header_safe(input: Vec<u8>) -> Vec<u8> {
    input
        .into_iter()
        .map(|byte| match byte {
            b'\t' | b' '..=b'~' | 0x80.. => byte,
            _ => b'?',
        })
        .collect()
}

fn tokens() -> Vec<Sample> {
    vec![
        Sample::coded("cashuA", TOKEN_V3, Coding::UrlSafe, ""),
        Sample::coded("cashuA", TOKEN_LOCKED, Coding::UrlSafe, ""),
        Sample::coded("cashuB", v4(), Coding::UrlSafe, "="),
    ]
}

fn requests() -> Vec<Sample> {
    let cbor = URL_SAFE_NO_PAD.decode(REQUEST_CBOR).unwrap_or_default();
    #[allow(unused_mut)]
    let mut samples = vec![
        Sample::coded("creqA", cbor, Coding::UrlSafe, ""),
        Sample::coded("creqA", REQUEST_JSON, Coding::UrlSafe, ""),
    ];
    #[cfg(feature = "cashu")]
    if let Ok(terms) = crate::xcashu::request::parse(&format!("creqA{REQUEST_CBOR}"))
        && let Ok(text) = crate::xcashu::request::to_creq_b(&terms, "1")
    {
        samples.push(Sample::plain(text));
    }
    samples
}

fn v4() -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(TOKEN_V4).unwrap_or_default()
}

fn sample_identifier() -> Identifier {
    Identifier {
        payment_hash: Preimage::new([1; 32]).payment_hash(),
        token_id: *PaymentHash::new([2; 32]).as_bytes(),
    }
}

fn macaroon_bytes() -> Vec<u8> {
    let caveats = [
        ("services", "echo:0"),
        ("uses", "3"),
        ("path_prefix", "/v1"),
    ];
    let caveats: Vec<Caveat> = caveats
        .into_iter()
        .filter_map(|(condition, value)| Caveat::new(condition, value).ok())
        .collect();
    Issuer::new(&[7; 32])
        .issue(&sample_identifier(), &caveats)
        .map(|macaroon| macaroon.as_bytes().to_vec())
        .unwrap_or_default()
}

/// Returns the inside of a credential whose challenge we made for another secret.
fn credential_json() -> Vec<u8> {
    let preimage = Preimage::new([1; 32]);
    let charge = Charge {
        service: "echo",
        capability: "say",
        method: "GET",
        target: "/",
    };
    let invoice = ChallengeInvoice {
        bolt11: INVOICE.to_owned(),
        payment_hash: preimage.payment_hash(),
    };
    mpp::Issuer::new(&[7; 32], "seller.example")
        .challenge(
            &charge,
            "An echo",
            &invoice,
            Sat::new(250_000),
            4_000_000_000,
        )
        .map(|challenge| mpp::Credential {
            challenge,
            preimage,
        })
        .and_then(|credential| credential.expose_value().ok())
        .and_then(|value| URL_SAFE_NO_PAD.decode(value.strip_prefix("Payment ")?).ok())
        .unwrap_or_default()
}

/// Returns the samples themselves, then mutations of them.
fn make(samples: &[Sample], seed: u64, n: usize) -> Vec<Vec<u8>> {
    let mut dice = Dice(seed);
    let whole: Vec<Vec<u8>> = samples
        .iter()
        .map(|sample| sample.around(&sample.inner))
        .collect();
    let mut inputs: Vec<Vec<u8>> = whole.iter().take(n).cloned().collect();
    while inputs.len() < n {
        let at = dice.below(samples.len());
        let other = &whole[dice.below(whole.len())];
        let mut input = if dice.below(2) == 0 {
            let inner = mutated(&mut dice, &samples[at].inner, other);
            samples[at].around(&inner)
        } else {
            mutated(&mut dice, &whole[at], other)
        };
        input.truncate(MAX_INPUT_BYTES);
        inputs.push(input);
    }
    inputs
}

/// Returns `input` after one to four accidents.
fn mutated(dice: &mut Dice, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = at + dice.below(bytes.len() - at + 1);
        match dice.below(9) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..end);
            }
            4 => {
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            5 => {
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..end, word.iter().copied());
            }
            6 => {
                let repeated = bytes[at..end].repeat(1 + dice.below(64));
                bytes.splice(at..at, repeated);
                bytes.truncate(MAX_INPUT_BYTES);
            }
            7 => {
                let from = dice.below(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied());
            }
            _ => {
                let noise = (0..dice.below(32)).map(|_| dice.roll() as u8);
                let noise: Vec<u8> = noise.collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}

/// SplitMix64: small, seeded, and good enough to break things with.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`; 0 when there is none.
    fn below(&mut self, end: usize) -> usize {
        (self.roll() % (end.max(1) as u64)) as usize
    }
}

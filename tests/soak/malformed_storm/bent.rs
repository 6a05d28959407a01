//! Payments that are nearly right: true ones with bytes changed, cut off,
//! repeated, or with parts made up.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use feria_paywall::l402::{Caveat, Identifier, Issuer};
use feria_paywall::payment::Preimage;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::super::node::Node;

/// Longest header that goes over the line; a longer one is the HTTP library's to refuse.
const MAX_BYTES: usize = 12_000;

/// What is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parser {
    Authorization,
    XCashu,
    Macaroon,
    Identifier,
    Caveats,
    Refund,
}

impl Parser {
    pub(super) const ALL: [Self; 6] = [
        Self::Authorization,
        Self::XCashu,
        Self::Macaroon,
        Self::Identifier,
        Self::Caveats,
        Self::Refund,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::XCashu => "x-cashu",
            Self::Macaroon => "macaroon",
            Self::Identifier => "identifier",
            Self::Caveats => "caveats",
            Self::Refund => "refund",
        }
    }
}

/// Makes them.
pub(super) struct Bent {
    rng: StdRng,
    host: String,
    mint: String,
    /// Signs as the node does: what it accepts is refused for what it says.
    issuer: Issuer,
    challenge: String,
    macaroon: Vec<u8>,
    request: String,
}

impl Bent {
    pub(super) fn new(seed: u64, node: &Node, (l402, cashu): &(String, String)) -> Self {
        let macaroon = l402.split('"').nth(1).unwrap();
        Self {
            rng: StdRng::seed_from_u64(seed),
            host: node.public.clone(),
            mint: node.mint.clone(),
            issuer: Issuer::new(&node.paywall),
            challenge: l402.clone(),
            macaroon: STANDARD.decode(macaroon).unwrap(),
            request: cashu.clone(),
        }
    }

    /// Returns a whole request with something malformed in it.
    pub(super) fn request(&mut self, parser: Parser) -> Vec<u8> {
        let (path, name, value, body) = match parser {
            Parser::Refund => ("/v1/refund", "Accept", b"*/*".to_vec(), self.token()),
            Parser::XCashu if self.rng.random_range(0..4) == 0 => {
                let value = [b"Cashu ".as_slice(), &self.token()].concat();
                ("/a/data", "Authorization", value, Vec::new())
            }
            Parser::XCashu => ("/a/data", "X-Cashu", self.token(), Vec::new()),
            _ => (
                "/a/data",
                "Authorization",
                self.authorization(parser),
                Vec::new(),
            ),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{name}: ",
            self.host,
            body.len()
        );
        let mut request = head.into_bytes();
        let allowed = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        request.extend(value.into_iter().filter(allowed).take(MAX_BYTES));
        request.extend_from_slice(b"\r\n\r\n");
        request.extend(body);
        request
    }

    fn authorization(&mut self, parser: Parser) -> Vec<u8> {
        let secret: [u8; 32] = self.rng.random();
        let preimage = hex::encode(secret);
        let macaroon = match parser {
            Parser::Macaroon => {
                let bytes = self.macaroon.clone();
                STANDARD.encode(self.bend(bytes))
            }
            Parser::Identifier => self.odd_identifier(),
            Parser::Caveats => self.odd_caveats(secret),
            _ => {
                let whole = format!("L402 {}:{preimage}", STANDARD.encode(&self.macaroon));
                let scheme = *[
                    "L402",
                    "LSAT",
                    "lsat",
                    "l402",
                    "Cashu",
                    "L402 L402",
                    "Bearer",
                    "",
                ]
                .choose(&mut self.rng)
                .unwrap();
                let whole = whole.replacen("L402", scheme, 1).into_bytes();
                return self.bend(whole);
            }
        };
        format!("L402 {macaroon}:{preimage}").into_bytes()
    }

    /// A macaroon that is signed as ours, over an identifier that we never write.
    fn odd_identifier(&mut self) -> String {
        let length = *[1, 2, 33, 64, 65, 66, 67, 128, 1_000]
            .choose(&mut self.rng)
            .unwrap();
        let mut identifier: Vec<u8> = (0..length).map(|_| self.rng.random()).collect();
        if self.rng.random() {
            // The version that is known, with a hash that no preimage here opens.
            identifier[0] = 0;
            identifier[length.min(2) - 1] = 0;
        }
        let caveats = self.caveats();
        let issued = self.issuer.issue_bytes(&identifier, &caveats).unwrap();
        issued.to_base64()
    }

    /// A macaroon of ours whose payment is proven, with conditions that cannot hold.
    fn odd_caveats(&mut self, preimage: [u8; 32]) -> String {
        let identifier = Identifier {
            payment_hash: Preimage::new(preimage).payment_hash(),
            token_id: self.rng.random(),
        };
        let mut caveats = self.caveats();
        caveats.push(Caveat::new("services", "nobody:0").unwrap());
        let issued = self.issuer.issue(&identifier, &caveats).unwrap();
        issued.to_base64()
    }

    fn caveats(&mut self) -> Vec<Caveat> {
        let names = [
            "services",
            "data_capabilities",
            "data_valid_until",
            "uses",
            "path_prefix",
            "Uses",
            "\u{202e}uses",
            "unknown",
            " ",
            "services ",
            "data_",
        ];
        let values = [
            "",
            "data:0",
            "data:0,data:0",
            ":",
            "-1",
            "+1",
            "18446744073709551616",
            "4294967296",
            "NaN",
            "/",
            "/..",
            "/%2e%2e/",
            "\u{feff}1",
            "1 ",
            "data",
            "0x10",
            ",,,,",
        ];
        let count = self.rng.random_range(0..6);
        (0..count)
            .map(|_| {
                let name = *names.choose(&mut self.rng).unwrap();
                let mut value = (*values.choose(&mut self.rng).unwrap()).to_owned();
                if self.rng.random_range(0..8) == 0 {
                    value = "9,".repeat(self.rng.random_range(0..500));
                }
                Caveat::new(name, value).unwrap()
            })
            .collect()
    }

    /// A token that is none, or one that nobody signed.
    fn token(&mut self) -> Vec<u8> {
        let proof = |amount: Value, secret: Value| {
            json!({"amount": amount, "id": "009a1f293253e41e", "secret": secret,
                   "C": "02bc9097997d81afb2cc7346b5e4345a9346bd2a506eb7958598a72f0cf85163ea"})
        };
        let lock = r#"["P2PK",{"nonce":"00","data":"02","tags":[["locktime","x"],["sigflag"]]}]"#;
        let secret = *["", "aa", lock, "[\"HTLC\",{}]", "\u{0}", "[[[[[[[["]
            .choose(&mut self.rng)
            .unwrap();
        let amount = [
            json!(64),
            json!(-1),
            json!(1.5),
            json!(u64::MAX),
            json!("64"),
            json!(0),
        ]
        .choose(&mut self.rng)
        .unwrap()
        .clone();
        let mint = match self.rng.random_range(0..3) {
            0 => "https://m.example".to_owned(),
            1 => "file:///etc/passwd".to_owned(),
            _ => self.mint.clone(),
        };
        let proofs = vec![proof(amount, secret.into()); self.rng.random_range(0..20)];
        let document = json!({"unit": "sat", "token": [{"mint": mint, "proofs": proofs}]});
        let text = match self.rng.random_range(0..6) {
            0 => format!("cashuA{}", URL_SAFE.encode(document.to_string())),
            1 => {
                let bytes = self.bend(document.to_string().into_bytes());
                format!("cashuA{}", URL_SAFE_NO_PAD.encode(bytes))
            }
            2 => format!("cashuA{}", STANDARD.encode("[".repeat(3_000))),
            3 => {
                // The payment request is CBOR of the same kind.
                let bytes = URL_SAFE_NO_PAD.decode(
                    self.request
                        .trim_start_matches("creqA")
                        .trim_end_matches('='),
                );
                let bytes = self.bend(bytes.unwrap());
                format!("cashuB{}", URL_SAFE_NO_PAD.encode(bytes))
            }
            4 => {
                let depth = self.rng.random_range(1..4_000);
                let opener = *[0x81_u8, 0xa1, 0xd8, 0x9f, 0xbf, 0x5f, 0xfb]
                    .choose(&mut self.rng)
                    .unwrap();
                format!("cashuB{}", URL_SAFE_NO_PAD.encode(vec![opener; depth]))
            }
            _ => format!("cashuB{}", URL_SAFE_NO_PAD.encode(self.noise(400))),
        };
        if self.rng.random_range(0..4) == 0 {
            return self.bend(text.into_bytes());
        }
        text.into_bytes()
    }

    /// A challenge for a buyer: the node's own, bent.
    pub(super) fn challenge(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let (l402, cashu) = (self.challenge.clone(), self.request.clone());
        let keep = |bytes: Vec<u8>| -> Vec<u8> {
            bytes
                .into_iter()
                .filter(|byte| *byte >= b' ' && *byte != 0x7f)
                .collect()
        };
        let mut headers = Vec::new();
        let which = self.rng.random_range(0..3);
        if which != 0 {
            headers.push(("www-authenticate", keep(self.bend(l402.into_bytes()))));
        }
        if which != 1 {
            headers.push(("x-cashu", keep(self.bend(cashu.into_bytes()))));
        }
        headers
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.rng.random_range(0..=most);
        (0..length).map(|_| self.rng.random()).collect()
    }

    /// `bytes` with something wrong about it, never as it was.
    fn bend(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let original = bytes.clone();
        while bytes == original {
            let at = self
                .rng
                .random_range(0..bytes.len().max(1))
                .min(bytes.len());
            match self.rng.random_range(0..6) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = self.rng.random(),
                2 => {
                    let noise = self.noise(30);
                    bytes.splice(at..at, noise);
                }
                3 => bytes.extend_from_within(at..),
                4 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => bytes.rotate_left(at),
            }
            bytes.truncate(MAX_BYTES);
        }
        bytes
    }
}

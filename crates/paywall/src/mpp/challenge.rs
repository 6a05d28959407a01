//! The `Payment` line of `WWW-Authenticate`: written and read.
//!
//! Written with every value quoted. Read as the field writes it: any order and
//! case of names, quoted or bare values, several challenges in one line, other
//! schemes between them. Of a parameter that is there twice the first counts.

use std::fmt;

use http::header::{InvalidHeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::is_payment;

/// Longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1_024;
/// Most header lines that are looked at.
const MAX_LINES: usize = 16;
/// Most challenges that are returned.
const MAX_CHALLENGES: usize = 16;

/// A challenge, and the echo of it in a credential. Fields are in the order of
/// their names, so that it serialises canonically (RFC 8785).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Challenge {
    /// For a person; nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Digest of the request's body, by RFC 9530.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When it ends, by RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Names the challenge.
    pub id: String,
    /// What kind of payment, such as `charge`.
    pub intent: String,
    /// How it is paid, such as `lightning`.
    pub method: String,
    /// The server's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
    /// The protection space.
    pub realm: String,
    /// What to pay: canonical JSON in base64url.
    pub request: String,
}

impl Challenge {
    /// Returns the value of `WWW-Authenticate`.
    ///
    /// # Errors
    /// When a value holds a control character.
    pub fn header_value(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let required = [
            ("id", &self.id),
            ("realm", &self.realm),
            ("method", &self.method),
            ("intent", &self.intent),
            ("request", &self.request),
        ]
        .map(|(name, value)| (name, Some(value)));
        let optional = [
            ("expires", self.expires.as_ref()),
            ("digest", self.digest.as_ref()),
            ("description", self.description.as_ref()),
            ("opaque", self.opaque.as_ref()),
        ];
        let parameters: Vec<String> = required
            .into_iter()
            .chain(optional)
            .filter_map(|(name, value)| Some(format!("{name}=\"{}\"", quoted(value?))))
            .collect();
        HeaderValue::from_bytes(format!("Payment {}", parameters.join(", ")).as_bytes())
    }

    /// Returns the complete challenges in `headers`, in their order.
    #[must_use]
    pub fn parse_all(headers: &HeaderMap) -> Vec<Self> {
        let lines = headers.get_all(WWW_AUTHENTICATE).iter().take(MAX_LINES);
        lines
            .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
            .filter(|line| line.len() <= MAX_LINE_BYTES)
            .flat_map(parse_line)
            .take(MAX_CHALLENGES)
            .collect()
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("id", &self.id)
            .field("realm", &self.realm)
            .field("method", &self.method)
            .field("intent", &self.intent)
            .finish_non_exhaustive()
    }
}

/// The parameters of one scheme.
#[derive(Default)]
struct Gathered {
    is_payment: bool,
    values: [Option<String>; NAMES.len()],
}

const NAMES: [&str; 9] = [
    "id",
    "realm",
    "method",
    "intent",
    "request",
    "expires",
    "digest",
    "description",
    "opaque",
];

impl Gathered {
    fn set(&mut self, name: &str, value: String) {
        let at = NAMES
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known));
        if let Some(slot) = at.and_then(|at| self.values.get_mut(at)) {
            slot.get_or_insert(value);
        }
    }

    fn into_challenge(self) -> Option<Challenge> {
        let [
            id,
            realm,
            method,
            intent,
            request,
            expires,
            digest,
            description,
            opaque,
        ] = self.values;
        let id = id.filter(|id| self.is_payment && !id.is_empty())?;
        Some(Challenge {
            description,
            digest,
            expires,
            id,
            intent: intent?,
            method: method?,
            opaque,
            realm: realm?,
            request: request?,
        })
    }
}

/// Reads one line: words followed by `=` are parameters, all others schemes.
fn parse_line(line: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut current = Gathered::default();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let end = rest
            .find([' ', '\t', ',', '=', '"'])
            .unwrap_or(rest.len())
            // A stray quote or equals sign is one unreadable word.
            .max(1);
        let (word, after) = rest.split_at(end);
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(after) => {
                let (value, after) = split_value(after.trim_start_matches([' ', '\t']));
                current.set(word, value);
                rest = after;
            }
            None => {
                found.extend(std::mem::take(&mut current).into_challenge());
                current.is_payment = is_payment(word.as_bytes());
                rest = after;
            }
        }
    }
    found.extend(current.into_challenge());
    found
}

/// Splits a quoted or bare value from what follows it.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (bare, after) = text.split_at(text.find([' ', '\t', ',']).unwrap_or(text.len()));
        return (bare.to_owned(), after);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

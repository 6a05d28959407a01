//! The 402 for a person with a browser: the price, what it buys, codes to scan, and
//! whether the invoice is paid.
//!
//! It uses the style sheet and the one script of the public listener; nothing is
//! loaded from elsewhere, and without script it says how to go on. The preimage
//! that a person pastes travels in a header alone, never in an address.

use std::sync::Arc;

use askama::Template;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::qr::QRBuilder;
use feria_paywall::amount::{MAX_MSAT, Msat};
use feria_paywall::challenge::{ChallengePage, ChallengeView, PlainPage};
use feria_paywall::l402::check_invoice;
use http::HeaderValue;

use super::Core;

/// Longest text that still makes a code that telephones read.
const MAX_QR_BYTES: usize = 1_800;

/// Renders the 402 with QR codes.
pub(super) struct QrPage {
    /// Named on the page: nobody pays play money for real, or the other way round.
    pub(super) network: &'static str,
    pub(super) core: Arc<Core>,
}

#[derive(Template)]
#[template(path = "pay.html")]
struct PayPage {
    network: &'static str,
    title: &'static str,
    detail: String,
    description: String,
    price: String,
    /// What one Lightning payment buys, in words.
    bought: String,
    /// Whether that is more than the one call that ecash buys.
    buys_more: bool,
    valid: String,
    lightning: Option<Way>,
    /// What the script needs to follow the invoice.
    watch: Option<Watch>,
    cashu: Option<Way>,
    mints: Vec<String>,
    steps: Vec<&'static str>,
}

/// One way to pay.
struct Way {
    /// An SVG of this program's own; empty when the text is too long for one.
    picture: String,
    text: String,
    /// The call again, with proof of payment.
    command: String,
}

/// The invoice as the page follows it.
struct Watch {
    /// The path that tells its state.
    events: String,
    /// How long it can be paid from now, in seconds: the browser's clock may be wrong.
    secs_left: u64,
    /// The same in words.
    payable: String,
    /// Only where the page itself can repeat the call: a browser opens it with GET.
    macaroon: Option<String>,
}

impl ChallengePage for QrPage {
    fn html(&self, view: &ChallengeView<'_>) -> String {
        let page = self.page(view);
        page.render().unwrap_or_else(|error| {
            tracing::error!(%error, "the page of a 402 could not be rendered");
            PlainPage.html(view)
        })
    }

    fn policy(&self) -> HeaderValue {
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
    }
}

impl QrPage {
    fn page(&self, view: &ChallengeView<'_>) -> PayPage {
        let terms = view.terms;
        let (method, path) = self.address(&terms.service, &terms.capability);
        let call = self.call(&method, &path);
        let macaroon = view.offers.l402.as_deref().and_then(macaroon);
        PayPage {
            network: self.network,
            title: match view.refusal.status().as_u16() {
                402 => "Payment required",
                429 => "Too many questions at once",
                503 => "Not for sale right now",
                _ => "This payment was not taken",
            },
            detail: view.refusal.detail(),
            description: terms.description.clone(),
            price: terms.price.to_string(),
            bought: terms.bought_by_lightning(),
            buys_more: terms.counted_uses() != Some(1),
            valid: span(terms.valid_secs),
            lightning: view.offers.invoice.as_ref().map(|invoice| Way {
                // Upper case makes a smaller code.
                picture: qr(&invoice.to_uppercase()),
                text: invoice.clone(),
                command: format!(
                    "{call} -H 'Authorization: L402 {}:PREIMAGE'",
                    macaroon.unwrap_or("MACAROON")
                ),
            }),
            watch: watch(view, macaroon.filter(|_| method == "GET")),
            cashu: view.offers.cashu.as_ref().map(|request| Way {
                picture: qr(request),
                text: request.clone(),
                command: format!("{call} -H 'X-Cashu: TOKEN'"),
            }),
            mints: terms
                .ecash
                .as_ref()
                .map(|ecash| ecash.mints.clone())
                .unwrap_or_default(),
            steps: view.refusal.next_steps(),
        }
    }

    /// Returns the method and the path that `capability` of the agent `name` is called with.
    fn address(&self, name: &str, capability: &str) -> (String, String) {
        // What is priced by request has that behind a dot.
        let capability = capability.split('.').next().unwrap_or_default();
        let route = self.core.routes.of(name, capability);
        let route = route.map(|route| route.address());
        route.unwrap_or_else(|| ("GET".to_owned(), format!("/a/{name}/")))
    }

    /// Returns the beginning of the command that makes the call.
    fn call(&self, method: &str, path: &str) -> String {
        let method = if method == "GET" {
            String::new()
        } else {
            format!("-X {method} ")
        };
        format!("curl {method}{}{path}", self.core.public_url)
    }
}

/// Returns how to follow the invoice on offer; nothing when there is none.
fn watch(view: &ChallengeView<'_>, macaroon: Option<&str>) -> Option<Watch> {
    let invoice = view.offers.invoice.as_deref()?;
    let invoice = check_invoice(invoice, Msat::new(MAX_MSAT), view.now).ok()?;
    let secs_left = invoice.expires_at.saturating_sub(view.now);
    Some(Watch {
        events: format!("/v1/invoices/{}/events", invoice.payment_hash),
        secs_left,
        payable: span(secs_left),
        macaroon: macaroon.map(str::to_owned),
    })
}

/// Returns the macaroon in the value of `WWW-Authenticate`. The layer made it, of
/// base64 only; anything else is not put into a command.
fn macaroon(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once("macaroon=\"")?;
    let (macaroon, _) = rest.split_once('"')?;
    macaroon
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte))
        .then_some(macaroon)
}

/// Says how long a credential is good.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn qr(text: &str) -> String {
    if text.len() > MAX_QR_BYTES {
        return String::new();
    }
    QRBuilder::new(text)
        .build()
        .map(|code| SvgBuilder::default().to_str(&code))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_macaroon_gets_into_a_command() {
        let good = r#"L402 version="0", token="x", macaroon="AgEE-_+/=", invoice="lnbc1""#;

        assert_eq!(macaroon(good), Some("AgEE-_+/="));
        assert_eq!(macaroon(r#"L402 macaroon="a'; reboot '""#), None);
        assert_eq!(macaroon("L402"), None);
    }

    #[test]
    fn spans_are_said_in_one_unit() {
        assert_eq!(span(1), "1 second");
        assert_eq!(span(3_600), "1 hour");
        assert_eq!(span(86_400), "24 hours");
    }

    #[test]
    fn a_code_has_no_style_of_its_own() {
        let picture = qr("LNBC1");

        assert!(picture.starts_with("<svg") && !picture.contains("style="));
        assert!(qr(&"a".repeat(MAX_QR_BYTES + 1)).is_empty());
    }
}

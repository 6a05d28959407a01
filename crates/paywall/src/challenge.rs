//! The 402, and every other answer that the layer gives by itself.
//!
//! Order matters on the wire: the first `WWW-Authenticate` is the one form that
//! all known L402 clients parse, MPP comes after it, `X-Cashu` follows. The body says the terms to
//! programs (problem+json, RFC 9457), to people (HTML) and to language models
//! (Markdown), by `Accept`.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderName, HeaderValue, LINK, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::json;

use crate::grpc;
use crate::price::Terms;
use crate::service::Body;
use crate::verdict::{Outcome, Refusal};

/// Carries payment requests and tokens (NUT-24).
pub const X_CASHU: HeaderName = HeaderName::from_static("x-cashu");
/// Names the paid call a response belongs to.
pub const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");
/// Says how many calls the credential is still good for.
pub const USES_REMAINING: HeaderName = HeaderName::from_static("x-uses-remaining");
/// Says how much of a metered or narrowed credential is left, in millisatoshi.
pub const BALANCE_MSAT: HeaderName = HeaderName::from_static("x-balance-msat");
/// Says what a metered call cost, in millisatoshi.
pub const COST_MSAT: HeaderName = HeaderName::from_static("x-cost-msat");
/// Says how a token was taken: `offline`, or `swap` at its mint.
pub const SETTLEMENT: HeaderName = HeaderName::from_static("feria-settlement");
/// Says the price to a request that asks for nothing else, in millisatoshi.
pub const PRICE_MSAT: HeaderName = HeaderName::from_static("x-price-msat");

/// Says what a call in shadow mode would have cost, such as `21 sat`.
pub const SHADOW: HeaderName = HeaderName::from_static("feria-shadow");
/// Says how many free calls a client has left.
pub const TRIAL_REMAINING: HeaderName = HeaderName::from_static("x-trial-remaining");
/// Asks for the price alone, by the preference `price-only` (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Says that the preference was heeded.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const PRICE_ONLY: &str = "price-only";

/// The headers a page in a browser may read.
pub(crate) const EXPOSED: HeaderValue = HeaderValue::from_static(
    "WWW-Authenticate, X-Cashu, Payment-Receipt, Feria-Settlement, Retry-After, X-Uses-Remaining, X-Balance-Msat, X-Cost-Msat, X-Trial-Remaining, X-Price-Msat, Feria-Shadow, Link",
);

/// The ways to pay that one 402 offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// The value of `WWW-Authenticate`.
    pub l402: Option<String>,
    /// The value of a second `WWW-Authenticate`, by MPP, for the same invoice.
    pub mpp: Option<String>,
    /// The BOLT11 text inside it.
    pub invoice: Option<String>,
    /// The value of `X-Cashu`: a payment request.
    pub cashu: Option<String>,
}

/// Everything there is to say about a refusal.
#[derive(Debug)]
pub struct ChallengeView<'a> {
    /// Why the request was not let through.
    pub refusal: &'a Refusal,
    /// What it costs.
    pub terms: &'a Terms,
    /// How it can be paid; empty unless the answer is a 402.
    pub offers: &'a Offers,
    /// Unix seconds.
    pub now: u64,
}

/// Renders the 402 for a browser.
pub trait ChallengePage: Send + Sync {
    /// Returns a whole HTML document. Every text of `view` comes from outside and must be escaped.
    fn html(&self, view: &ChallengeView<'_>) -> String;

    /// Returns the value of `Content-Security-Policy`; the default lets the page
    /// load and run nothing.
    fn policy(&self) -> HeaderValue {
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
    }
}

/// A page without style sheet, script or picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainPage;

/// The form of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Problem,
    Html,
    Markdown,
}

/// Renders `view` in the form that `headers` ask for.
pub(crate) fn render(
    view: &ChallengeView<'_>,
    headers: &HeaderMap,
    page: &dyn ChallengePage,
) -> Response<Body> {
    let mut response = grpc::refusal(view.refusal, headers)
        .unwrap_or_else(|| in_form(view, accepted_form(headers), page));
    let out = response.headers_mut();
    set_offers(out, view.offers);
    if matches!(view.refusal, Refusal::BadCredential(_)) {
        out.insert(WWW_AUTHENTICATE, HeaderValue::from_static("L402"));
    }
    if let Some(seconds) = view.refusal.retry_after() {
        out.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    set_links(out, view.terms);
    response
        .extensions_mut()
        .insert(Outcome::Refused(view.refusal.clone()));
    response
}

fn in_form(view: &ChallengeView<'_>, form: Form, page: &dyn ChallengePage) -> Response<Body> {
    let (content_type, body) = match form {
        Form::Problem => ("application/problem+json", problem(view).to_string()),
        Form::Html => ("text/html; charset=utf-8", page.html(view)),
        Form::Markdown => ("text/markdown; charset=utf-8", markdown(view)),
    };
    let mut response = answer(view.refusal.status(), content_type, body);
    if form == Form::Html {
        let out = response.headers_mut();
        out.insert(CONTENT_SECURITY_POLICY, page.policy());
        out.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// Returns whether nothing but the price is asked for, by a method other than `HEAD`.
pub(crate) fn asks_price_only(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter().take(4);
    values
        .flat_map(|value| value.to_str().unwrap_or_default().split(',').take(16))
        .filter_map(|preference| preference.split(';').next())
        .any(|name| name.trim().eq_ignore_ascii_case(PRICE_ONLY))
}

/// Tells the price and makes no invoice. There is no `WWW-Authenticate`: a client
/// that sees `L402` takes what follows for something to pay.
pub(crate) fn price_told(
    view: &ChallengeView<'_>,
    parts: &Parts,
    page: &dyn ChallengePage,
) -> Response<Body> {
    let mut response = if parts.method == Method::HEAD {
        let status = StatusCode::PAYMENT_REQUIRED;
        let mut response = answer(status, "application/problem+json", String::new());
        set_offers(response.headers_mut(), view.offers);
        set_links(response.headers_mut(), view.terms);
        response
    } else {
        render(view, &parts.headers, page)
    };
    let headers = response.headers_mut();
    headers.insert(PRICE_MSAT, HeaderValue::from(view.terms.price.as_u64()));
    if asks_price_only(&parts.headers) {
        headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(PRICE_ONLY));
    }
    response.extensions_mut().insert(Outcome::PriceTold);
    response
}

/// Returns an answer of the layer's own; never cached.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Body> {
    let body = Body::new(Full::new(Bytes::from(body)).map_err(|never| match never {}));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    response
}

/// Takes out what only the paywall says: a service cannot forge it.
pub(crate) fn remove_own(headers: &mut HeaderMap) {
    for name in [
        X_CASHU,
        PAYMENT_RECEIPT,
        USES_REMAINING,
        BALANCE_MSAT,
        COST_MSAT,
        SETTLEMENT,
        SHADOW,
        TRIAL_REMAINING,
    ] {
        headers.remove(name);
    }
}

fn set_offers(headers: &mut HeaderMap, offers: &Offers) {
    // L402 first: some clients read the first line only.
    let pairs = [
        (WWW_AUTHENTICATE, &offers.l402),
        (WWW_AUTHENTICATE, &offers.mpp),
        (X_CASHU, &offers.cashu),
    ];
    for (name, value) in pairs {
        if let Some(value) = value
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.append(name, value);
        }
    }
}

fn set_links(headers: &mut HeaderMap, terms: &Terms) {
    for link in &terms.links {
        if let Ok(link) = HeaderValue::from_str(link) {
            headers.append(LINK, link);
        }
    }
}

/// Returns the best liked of the three forms; problem+json when none is named.
fn accepted_form(headers: &HeaderMap) -> Form {
    let mut best = (0, Form::Problem);
    for value in headers.get_all(ACCEPT).iter().take(4) {
        for entry in value.to_str().unwrap_or_default().split(',').take(32) {
            let mut parts = entry.split(';').map(str::trim);
            let form = match parts.next().unwrap_or_default() {
                "text/html" | "application/xhtml+xml" => Form::Html,
                "text/markdown" => Form::Markdown,
                "application/problem+json" | "application/json" => Form::Problem,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok())
                .map_or(1_000, |q| (q.clamp(0.0, 1.0) * 1_000.0) as u32);
            if weight > best.0 {
                best = (weight, form);
            }
        }
    }
    best.1
}

fn problem_type(refusal: &Refusal) -> &'static str {
    match refusal.code() {
        "payment_required" => "https://paymentauth.org/problems/payment-required",
        "credential_expired" => "https://paymentauth.org/problems/payment-expired",
        "amount_too_low" => "https://paymentauth.org/problems/payment-insufficient",
        "bad_credential" => "https://paymentauth.org/problems/verification-failed",
        "malformed_token" => "https://paymentauth.org/problems/malformed-credential",
        _ => "about:blank",
    }
}

fn problem(view: &ChallengeView<'_>) -> serde_json::Value {
    let refusal = view.refusal;
    let terms = view.terms;
    let ecash = terms.ecash.as_ref();
    let mut document = json!({
        "type": problem_type(refusal),
        "title": refusal.status().canonical_reason().unwrap_or_default(),
        "status": refusal.status().as_u16(),
        "detail": refusal.detail(),
        "code": refusal.code(),
        "retryable": refusal.is_retryable(),
        "money": refusal.money(),
        "next_steps": refusal.next_steps(),
        "price_msat": terms.price.as_u64(),
        "terms": {
            "description": terms.description,
            "uses": terms.counted_uses(),
            "balance_msat": terms.metered.as_ref().map(|_| terms.invoice_amount().as_u64()),
            "valid_until": terms.valid_until(view.now),
            "refund": refund_rule(),
            "mints": ecash.map_or(&[][..], |ecash| &ecash.mints),
            "lock_key": ecash.and_then(|ecash| ecash.lock_key.as_ref()),
            "min_locktime": ecash.map(|ecash| view.now.saturating_add(ecash.min_locktime_secs)),
        },
    });
    if let Refusal::PaymentRequired(reason) = refusal {
        document["reason"] = json!(reason.code());
    }
    document
}

const fn refund_rule() -> &'static str {
    "If the service fails (5xx, time-out, no answer), a Lightning use is given back and the same \
     credential works again; ecash comes back in the X-Cashu header of that answer or by \
     POST /v1/refund with the original token."
}

fn markdown(view: &ChallengeView<'_>) -> String {
    let terms = view.terms;
    let mut text = format!(
        "# {} {}\n\n{}\n\n- price: {} ({} msat)\n- buys: {} by Lightning, valid until {} (Unix time); one call by ecash\n- refund: {}\n",
        view.refusal.status().as_u16(),
        view.refusal.code(),
        view.refusal.detail(),
        terms.price,
        terms.price.as_u64(),
        terms.bought_by_lightning(),
        terms.valid_until(view.now),
        refund_rule(),
    );
    if let Some(ecash) = &terms.ecash {
        text.push_str(&format!("- mints: {}\n", ecash.mints.join(", ")));
        if let Some(key) = &ecash.lock_key {
            text.push_str(&format!(
                "- lock ecash to {key}, locktime at least {} (Unix time)\n",
                view.now.saturating_add(ecash.min_locktime_secs)
            ));
        }
    }
    text.push_str("\n## Next\n\n");
    for step in view.refusal.next_steps() {
        text.push_str(&format!("- {step}\n"));
    }
    for (name, value) in [
        ("Invoice", &view.offers.invoice),
        ("Payment request", &view.offers.cashu),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("\n## {name}\n\n    {value}\n"));
        }
    }
    text
}

impl ChallengePage for PlainPage {
    fn html(&self, view: &ChallengeView<'_>) -> String {
        let terms = view.terms;
        let offers: String = [
            ("Lightning invoice", &view.offers.invoice),
            ("Cashu payment request", &view.offers.cashu),
        ]
        .into_iter()
        .filter_map(|(name, value)| {
            let value = escape(value.as_deref()?);
            Some(format!("<h2>{name}</h2><pre>{value}</pre>"))
        })
        .collect();
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status} {price}</title>\
             <h1>{description}: {price}</h1><p>{detail}</p>\
             <p>One Lightning payment buys {bought}. {refund}</p>{offers}</html>",
            status = view.refusal.status().as_u16(),
            price = terms.price,
            description = escape(&terms.description),
            detail = escape(&view.refusal.detail()),
            bought = terms.bought_by_lightning(),
            refund = refund_rule(),
        )
    }
}

/// Returns `text` fit for HTML text and attribute values.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut safe, c| {
            match c {
                '&' => safe.push_str("&amp;"),
                '<' => safe.push_str("&lt;"),
                '>' => safe.push_str("&gt;"),
                '"' => safe.push_str("&quot;"),
                '\'' => safe.push_str("&#39;"),
                c => safe.push(c),
            }
            safe
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Form) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        assert_eq!(accepted_form(&headers), expected, "{accept}");
    }

    #[test]
    fn the_form_follows_accept() {
        check("*/*", Form::Problem);
        check("application/json", Form::Problem);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Form::Html);
        check("text/html;q=0.5, text/markdown", Form::Markdown);
        check("text/html;q=0", Form::Problem);
        check("nonsense;;;=,", Form::Problem);
    }

    #[test]
    fn foreign_text_is_escaped() {
        assert_eq!(escape("<a b='\"&'>"), "&lt;a b=&#39;&quot;&amp;&#39;&gt;");
    }
}

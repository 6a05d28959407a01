//! The service in front of a counted inner service, with in-memory parts.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream;
use http::{HeaderName, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::amount::Msat;
use crate::fault::ServiceFault;
use crate::l402::{Caveat, Challenge, Macaroon};
use crate::layer::{PaywallBuilder, PaywallLayer};
use crate::price::{CommitAt, Metered, Trial};
use crate::testing::{MemoryJournal, MemoryWorld};

mod priced;
mod wire;

/// What the service says of itself when it is sent `fault`, with a status of 200.
const FAULT: ServiceFault = ServiceFault {
    status: StatusCode::GATEWAY_TIMEOUT,
    code: "too_slow",
    detail: "It took too long.",
};

/// A paid echo: `fail` answers 500, `panic` panics, `break` and `stream` answer in
/// parts (one breaks off after the first), a number is what the call cost, and
/// anything else comes back.
struct Market {
    world: Arc<MemoryWorld>,
    layer: PaywallLayer,
    calls: Arc<AtomicU64>,
}

fn terms(request: &Parts) -> Option<Terms> {
    let path = request.uri.path();
    let is_metered = path.starts_with("/paid/metered");
    path.starts_with("/paid").then(|| Terms {
        description: "<b>echo</b>".to_owned(),
        asks_pricer: path == "/paid/asked",
        is_shadow: path == "/paid/shadow",
        trial: (path == "/paid/trial").then_some(Trial {
            calls: 2,
            window_secs: 60,
        }),
        uses: if path == "/paid/ten" { 10 } else { 1 },
        metered: is_metered.then(|| Metered {
            deposit: Msat::new(4_000),
            cost_header: HeaderName::from_static("x-cost"),
        }),
        commit: if path == "/paid/end" {
            CommitAt::BodyEnd
        } else {
            CommitAt::Head
        },
        valid_secs: 60,
        invoice_expiry_secs: 60,
        ..Terms::new("echo", "say", Msat::new(1_500))
    })
}

impl Market {
    fn new() -> Self {
        Self::with(|layer| layer)
    }

    fn with(change: impl FnOnce(PaywallBuilder) -> PaywallBuilder) -> Self {
        let world = Arc::new(MemoryWorld::at(1_000));
        let layer = PaywallLayer::builder(
            &[1; 32],
            Arc::new(terms),
            Arc::new(MemoryJournal::default()),
            world.clone(),
        )
        .invoices(world.clone())
        .mpp("seller.example");
        let layer = change(layer).build();
        Self {
            world,
            layer,
            calls: Arc::default(),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<String> {
        let calls = Arc::clone(&self.calls);
        let echo = service_fn(move |request: Request<Body>| {
            let calls = Arc::clone(&calls);
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                assert!(!request.headers().contains_key(AUTHORIZATION));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_ne!(body, "panic");
                let mut response = Response::new(answer_of(&body));
                if let Ok(cost) = http::HeaderValue::from_bytes(&body) {
                    response.headers_mut().insert("x-cost", cost);
                }
                if body == "fail" {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                if body == "fault" {
                    response.extensions_mut().insert(FAULT);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let response = self.layer.layer(echo).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await;
        let body = body.map_or_else(|_| Bytes::from("broken"), |body| body.to_bytes());
        Response::from_parts(parts, String::from_utf8_lossy(&body).into_owned())
    }

    async fn call(&self, credential: Option<&str>, body: &str) -> Response<String> {
        self.call_at("/paid", credential, body).await
    }

    async fn call_at(&self, path: &str, credential: Option<&str>, body: &str) -> Response<String> {
        let mut request = Request::post(path).extension(ClientAddr([192, 0, 2, 1].into()));
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, credential);
        }
        let body = Full::from(body.to_owned());
        self.send(request.body(body).unwrap()).await
    }

    async fn buy(&self) -> String {
        let (macaroon, preimage) = self.buy_at("/paid").await;
        format!("L402 {}:{preimage}", macaroon.to_base64())
    }

    async fn buy_at(&self, path: &str) -> (Macaroon, String) {
        let answer = self.call_at(path, None, "").await;
        let challenge = Challenge::parse_all(answer.headers()).remove(0);
        let preimage = self.world.preimage(&challenge.invoice).unwrap();
        let macaroon = Macaroon::parse(&challenge.token).unwrap();
        (macaroon, preimage.expose_hex())
    }
}

fn answer_of(body: &Bytes) -> Body {
    let parts = match body.as_ref() {
        b"stream" => vec![Ok("one "), Ok("two")],
        b"break" => vec![Ok("one "), Err(BoxError::from("the line went dead"))],
        _ => return Body::new(Full::new(body.clone()).map_err(Into::into)),
    };
    let frames = parts
        .into_iter()
        .map(|part| part.map(|text| Frame::data(Bytes::from(text))));
    Body::new(StreamBody::new(stream::iter(frames)))
}

fn header<'a>(answer: &'a Response<String>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

#[tokio::test]
async fn what_has_no_price_passes_untouched() {
    let market = Market::new();

    let answer = market
        .send(Request::get("/free").body(Full::default()).unwrap())
        .await;

    assert_eq!(answer.extensions().get(), Some(&Outcome::Free));
    assert_eq!(market.world.count_invoices(), 0);
}

#[tokio::test]
async fn a_paid_call_is_served_once_and_repeated_from_the_copy() {
    let market = Market::new();
    let credential = market.buy().await;

    let first = market.call(Some(&credential), "hello").await;
    let again = market.call(Some(&credential), "hello").await;
    let other = market.call(Some(&credential), "other").await;

    assert_eq!(first.body(), "hello");
    assert!(matches!(
        first.extensions().get(),
        Some(Outcome::Paid { rail: "l402", .. })
    ));
    assert_eq!(again.body(), "hello");
    assert!(matches!(
        again.extensions().get(),
        Some(Outcome::Replayed { .. })
    ));
    assert_eq!(other.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(market.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_service_that_fails_or_panics_costs_nothing() {
    let market = Market::new();
    let credential = market.buy().await;

    for body in ["fail", "panic"] {
        let answer = market.call(Some(&credential), body).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }

    let answer = market.call(Some(&credential), "hello").await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_idempotency_key_names_one_request() {
    let market = Market::new();
    let credential = market.buy().await;
    let send = |body: &'static str| {
        let request = Request::post("/paid")
            .header(AUTHORIZATION, &credential)
            .header("idempotency-key", "k1")
            .body(Full::from(body))
            .unwrap();
        market.send(request)
    };

    assert_eq!(send("hello").await.status(), StatusCode::OK);
    assert_eq!(send("hello").await.body(), "hello");
    assert_eq!(send("other").await.status(), StatusCode::CONFLICT);
    let elsewhere = Request::post("/paid?page=2")
        .header(AUTHORIZATION, &credential)
        .header("idempotency-key", "k1")
        .body(Full::from("hello"))
        .unwrap();
    assert_eq!(market.send(elsewhere).await.status(), StatusCode::CONFLICT);
    assert_eq!(market.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_page_for_a_person_escapes_what_others_wrote() {
    let market = Market::new();
    let request = Request::post("/paid").header("accept", "text/html");

    let answer = market.send(request.body(Full::default()).unwrap()).await;

    assert!(answer.body().contains("&lt;b&gt;echo"), "{}", answer.body());
    assert!(!answer.body().contains("<script"));
}

#[tokio::test]
async fn a_metered_call_takes_what_it_cost() {
    let market = Market::new();
    let (macaroon, preimage) = market.buy_at("/paid/metered").await;
    let credential = format!("L402 {}:{preimage}", macaroon.to_base64());
    let call = |cost| market.call_at("/paid/metered", Some(&credential), cost);

    let first = call("200").await;
    let dear = call("9999").await;
    let silent = call("no number").await;

    assert_eq!(
        (
            header(&first, "x-cost-msat"),
            header(&first, "x-balance-msat")
        ),
        (Some("200"), Some("3800"))
    );
    assert_eq!(header(&dear, "x-cost-msat"), Some("1500"));
    assert_eq!(header(&silent, "x-balance-msat"), Some("800"));
    assert_eq!(header(&silent, "x-cost"), None);
    // 800 msat are left, and the next call may cost 1500.
    assert_eq!(call("1").await.status(), StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn a_holder_gives_a_part_of_what_he_bought_to_somebody_else() {
    let market = Market::new();
    let (whole, preimage) = market.buy_at("/paid/ten").await;
    let narrow = |caveats: &[(&str, &str)]| {
        let narrowed = caveats
            .iter()
            .fold(whole.clone(), |macaroon, (name, value)| {
                let caveat = Caveat::new(*name, *value).unwrap();
                macaroon.attenuate(&caveat).unwrap()
            });
        format!("L402 {}:{preimage}", narrowed.to_base64())
    };
    let (two, other) = (
        narrow(&[("note", "bob"), ("uses", "2")]),
        narrow(&[("uses", "2")]),
    );
    let elsewhere = narrow(&[("path_prefix", "/paid/other")]);
    // Each of the ten calls is worth 150 of the 1500 msat.
    let few_sats = narrow(&[("sats", "0")]);
    let late = narrow(&[("echo_valid_until", "999")]);
    let call = |credential: String, body: &'static str| {
        let market = &market;
        async move { market.call_at("/paid/ten", Some(&credential), body).await }
    };

    let first = call(two.clone(), "1").await;
    call(two.clone(), "2").await;
    let third = call(two, "3").await;
    let others = call(other, "4").await;

    assert_eq!(header(&first, "x-uses-remaining"), Some("1"));
    assert_eq!(third.status(), StatusCode::PAYMENT_REQUIRED);
    assert!(third.body().contains("credential_used_up"));
    assert_eq!(header(&others, "x-uses-remaining"), Some("1"));
    for (credential, body) in [(elsewhere, "5"), (few_sats, "6"), (late, "7")] {
        let answer = call(credential, body).await;
        assert_eq!(answer.status(), StatusCode::PAYMENT_REQUIRED, "{body}");
    }
    let whole = format!("L402 {}:{preimage}", whole.to_base64());
    assert_eq!(
        header(&call(whole, "8").await, "x-uses-remaining"),
        Some("6")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_paid_only_where_the_head_counts() {
    let market = Market::new();
    for (path, is_paid) in [("/paid", true), ("/paid/end", false)] {
        let (macaroon, preimage) = market.buy_at(path).await;
        let credential = format!("L402 {}:{preimage}", macaroon.to_base64());

        let broken = market.call_at(path, Some(&credential), "break").await;
        let again = market.call_at(path, Some(&credential), "stream").await;

        assert_eq!(broken.body(), "broken");
        let is_refused = again.status() == StatusCode::PAYMENT_REQUIRED;
        assert_eq!(is_refused, is_paid, "{path}");
    }
}

#[tokio::test]
async fn an_answer_committed_at_its_end_is_kept_for_a_repeat() {
    let market = Market::new();
    let (macaroon, preimage) = market.buy_at("/paid/end").await;
    let credential = format!("L402 {}:{preimage}", macaroon.to_base64());

    let first = market
        .call_at("/paid/end", Some(&credential), "stream")
        .await;
    let again = market
        .call_at("/paid/end", Some(&credential), "stream")
        .await;

    assert_eq!((first.body(), again.body()), (first.body(), first.body()));
    assert!(matches!(
        again.extensions().get(),
        Some(Outcome::Replayed { .. })
    ));
    assert_eq!(market.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unpaid_invoice_is_given_again_while_its_window_is_open() {
    let market = Market::with(|layer| layer.invoice_reuse_secs(20).challenges_per_minute(3));
    let ask = |path: &'static str| market.call_at(path, None, "");
    let invoice = |answer: &Response<String>| Challenge::parse_all(answer.headers()).remove(0);

    let first = invoice(&ask("/paid").await);
    let again = invoice(&ask("/paid").await);
    let dearer = invoice(&ask("/paid/metered").await);
    assert_eq!(first.invoice, again.invoice);
    assert_ne!(first.invoice, dearer.invoice);

    // What was paid is not offered a second time.
    let preimage = market.world.preimage(&first.invoice).unwrap();
    let credential = format!("L402 {}:{}", first.token, preimage.expose_hex());
    let answer = market.call(Some(&credential), "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_ne!(first.invoice, invoice(&ask("/paid").await).invoice);

    // After the window a new one is made, and the limit counts it.
    market.world.advance_secs(20);
    let late = ask("/paid").await;
    assert_eq!(late.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(market.world.count_invoices(), 4);
    market.world.advance_secs(20);
    ask("/paid").await;
    let refused = ask("/paid/metered").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_fault_that_the_service_names_is_told_and_the_use_given_back() {
    let market = Market::new();
    let credential = market.buy().await;

    let failed = market.call(Some(&credential), "fault").await;
    let retried = market.call(Some(&credential), "good").await;

    assert_eq!(failed.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(failed.body().contains("\"code\":\"too_slow\""));
    assert!(failed.body().contains("It took too long."));
    assert_eq!(retried.body(), "good");
}

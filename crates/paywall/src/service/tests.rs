//! The service in front of a counted inner service, with in-memory parts.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::amount::Msat;
use crate::l402::Challenge;
use crate::layer::PaywallLayer;
use crate::testing::{MemoryJournal, MemoryWorld};

/// A paid echo: `fail` answers 500, `panic` panics, anything else comes back.
struct Market {
    world: Arc<MemoryWorld>,
    layer: PaywallLayer,
    calls: Arc<AtomicU64>,
}

fn terms(request: &Parts) -> Option<Terms> {
    request.uri.path().starts_with("/paid").then(|| Terms {
        service: "echo".to_owned(),
        capability: "say".to_owned(),
        description: "<b>echo</b>".to_owned(),
        price: Msat::new(1_500),
        uses: 1,
        valid_secs: 60,
        invoice_expiry_secs: 60,
        lightning: true,
        ecash: None,
        links: Vec::new(),
    })
}

impl Market {
    fn new() -> Self {
        let world = Arc::new(MemoryWorld::at(1_000));
        let layer = PaywallLayer::builder(
            &[1; 32],
            Arc::new(terms),
            Arc::new(MemoryJournal::default()),
            world.clone(),
        )
        .invoices(world.clone())
        .build();
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
                let mut response = Response::new(Full::new(body.clone()));
                if body == "fail" {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                Ok::<_, Infallible>(response)
            }
        });
        let response = self.layer.layer(echo).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, String::from_utf8_lossy(&body).into_owned())
    }

    async fn call(&self, credential: Option<&str>, body: &str) -> Response<String> {
        let mut request = Request::post("/paid");
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, credential);
        }
        let body = Full::from(body.to_owned());
        self.send(request.body(body).unwrap()).await
    }

    async fn buy(&self) -> String {
        let answer = self.call(None, "").await;
        let challenge = Challenge::parse_all(answer.headers()).remove(0);
        let preimage = self.world.preimage(&challenge.invoice).unwrap();
        format!("L402 {}:{}", challenge.token, preimage.expose_hex())
    }
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

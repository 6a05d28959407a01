//! What goes over the wire: the second challenge, gRPC, and the price alone.

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};

use super::*;
use crate::challenge::{PAYMENT_RECEIPT, PRICE_MSAT, USES_REMAINING};
use crate::mpp::{Credential, GRACE_SECS, Receipt};
use crate::payment::Preimage;

/// One 402 with both ways to pay its invoice.
struct Offered {
    l402: String,
    challenge: mpp::Challenge,
    preimage: Preimage,
}

impl Offered {
    fn mpp(&self) -> String {
        let credential = Credential {
            challenge: self.challenge.clone(),
            preimage: self.preimage.clone(),
        };
        credential.expose_value().unwrap()
    }
}

impl Market {
    async fn offered(&self) -> Offered {
        let answer = self.call(None, "").await;
        let l402 = Challenge::parse_all(answer.headers()).remove(0);
        let challenge = mpp::Challenge::parse_all(answer.headers()).remove(0);
        let preimage = self.world.preimage(&l402.invoice).unwrap();
        Offered {
            l402: format!("L402 {}:{}", l402.token, preimage.expose_hex()),
            challenge,
            preimage,
        }
    }

    fn served(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

fn code(answer: &Response<String>) -> String {
    let body: serde_json::Value = serde_json::from_str(answer.body()).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn mpp_is_the_line_after_l402_for_the_same_invoice() {
    let market = Market::new();

    let answer = market.call(None, "").await;

    let lines: Vec<_> = answer.headers().get_all(WWW_AUTHENTICATE).iter().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].as_bytes().starts_with(b"L402 macaroon="));
    assert!(lines[1].as_bytes().starts_with(b"Payment id="));
    assert_eq!(market.world.count_invoices(), 1);
    // Read from one merged line too, as the Fetch API gives it.
    let merged = [lines[0].to_str().unwrap(), lines[1].to_str().unwrap()].join(", ");
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, merged.parse().unwrap());
    assert_eq!(Challenge::parse_all(&headers).len(), 1);
    assert_eq!(mpp::Challenge::parse_all(&headers).len(), 1);
}

#[tokio::test]
async fn mpp_is_not_offered_where_the_same_money_buys_more() {
    let market = Market::new();

    for path in ["/paid/ten", "/paid/metered"] {
        let answer = market.call_at(path, None, "").await;
        assert_eq!(Challenge::parse_all(answer.headers()).len(), 1);
        assert!(mpp::Challenge::parse_all(answer.headers()).is_empty());
    }
}

#[tokio::test]
async fn an_invoice_given_again_ends_when_it_did() {
    let market = Market::with(|layer| layer.invoice_reuse_secs(30));

    let first = market.offered().await;
    market.world.advance_secs(20);
    let again = market.offered().await;

    assert_eq!(market.world.count_invoices(), 1);
    assert_eq!(again.challenge, first.challenge);
    assert_eq!(
        again.challenge.expires.as_deref(),
        Some("1970-01-01T00:17:40Z")
    );
    let served = market.call(Some(&again.mpp()), "hello").await;
    assert_eq!(served.status(), StatusCode::OK);
    // What was paid is not handed to the next one.
    assert_ne!(market.offered().await.challenge, first.challenge);
}

#[tokio::test]
async fn an_mpp_payment_is_served_once_with_its_receipt() {
    let market = Market::new();
    let offered = market.offered().await;

    let first = market.call(Some(&offered.mpp()), "hello").await;
    let again = market.call(Some(&offered.mpp()), "hello").await;
    let other = market.call(Some(&offered.mpp()), "other").await;

    assert_eq!(
        (first.status(), first.body().as_str()),
        (StatusCode::OK, "hello")
    );
    assert!(matches!(
        first.extensions().get(),
        Some(Outcome::Paid { rail: "mpp", .. })
    ));
    assert_eq!(first.headers()[USES_REMAINING], "0");
    let receipt = Receipt::parse(first.headers()[PAYMENT_RECEIPT].to_str().unwrap()).unwrap();
    assert_eq!(receipt.challenge_id.as_ref(), Some(&offered.challenge.id));
    assert_eq!(
        receipt.reference,
        offered.preimage.payment_hash().to_string()
    );
    assert_eq!(again.body(), "hello");
    assert_eq!(
        again.headers()[PAYMENT_RECEIPT],
        first.headers()[PAYMENT_RECEIPT]
    );
    assert_eq!(other.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(code(&other), "credential_used_up");
    assert_eq!(market.served(), 1);
}

#[tokio::test]
async fn one_payment_is_never_used_by_both_schemes() {
    let market = Market::new();
    let (one, two) = (market.offered().await, market.offered().await);

    let first = market.call(Some(&one.mpp()), "a").await;
    let second = market.call(Some(&one.l402), "b").await;
    let third = market.call(Some(&two.l402), "c").await;
    let fourth = market.call(Some(&two.mpp()), "d").await;

    let statuses = [first, second, third, fourth].map(|answer| answer.status().as_u16());
    assert_eq!(statuses, [200, 402, 200, 402]);
    assert_eq!(market.served(), 2);
}

#[tokio::test]
async fn a_bad_mpp_credential_is_refused_for_its_reason() {
    let market = Market::new();
    let offered = market.offered().await;
    let other_preimage = Offered {
        preimage: Preimage::new([0xee; 32]),
        ..market.offered().await
    };
    let mut dearer = market.offered().await;
    dearer.challenge.request = "e30".to_owned();
    let hex = offered.preimage.expose_hex();
    for value in [
        "Payment".to_owned(),
        "Payment !".to_owned(),
        "Payment e30".to_owned(),
        format!("Payment method=\"lightning\", preimage=\"{hex}\""),
        other_preimage.mpp(),
        dearer.mpp(),
    ] {
        let answer = market.call(Some(&value), "a").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(code(&answer), "bad_credential");
    }
    assert_eq!(market.world.count_invoices(), 3);

    let elsewhere = Request::post("/paid?page=2")
        .header(AUTHORIZATION, offered.mpp())
        .body(Full::default());
    let elsewhere = market.send(elsewhere.unwrap()).await;
    assert_eq!(code(&elsewhere), "credential_for_other_service");

    market.world.advance_secs(60 + GRACE_SECS + 1);
    let late = market.call(Some(&offered.mpp()), "a").await;
    assert_eq!(late.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(code(&late), "credential_expired");
    assert_eq!(market.served(), 0);
}

#[tokio::test]
async fn a_failed_call_leaves_the_mpp_payment_good() {
    let market = Market::new();
    let offered = market.offered().await;

    let failed = market.call(Some(&offered.mpp()), "fail").await;
    let served = market.call(Some(&offered.mpp()), "hello").await;

    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    assert!(!failed.headers().contains_key(PAYMENT_RECEIPT));
    assert!(failed.body().contains("Repeat with the same credential"));
    assert_eq!(served.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_was_paid_counts_although_the_price_rose() {
    let price = Arc::new(AtomicU64::new(2_000));
    let asked = Arc::clone(&price);
    let world = Arc::new(MemoryWorld::at(1_000));
    let pricing = move |request: &Parts| {
        let price = Msat::new(asked.load(Ordering::SeqCst));
        terms(request).map(|terms| Terms { price, ..terms })
    };
    let layer = PaywallLayer::builder(
        &[1; 32],
        Arc::new(pricing),
        Arc::new(MemoryJournal::default()),
        world.clone(),
    )
    .invoices(world.clone())
    .mpp("seller.example")
    .build();
    let market = Market {
        world,
        layer,
        calls: Arc::default(),
    };
    let offered = market.offered().await;

    price.store(90_000, Ordering::SeqCst);

    let answer = market.call(Some(&offered.mpp()), "hello").await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_mpp_the_scheme_belongs_to_the_service_behind() {
    let world = Arc::new(MemoryWorld::at(1_000));
    let layer = PaywallLayer::builder(
        &[1; 32],
        Arc::new(terms),
        Arc::new(MemoryJournal::default()),
        world.clone(),
    )
    .invoices(world.clone())
    .build();
    let seen = service_fn(|request: Request<Body>| async move {
        let values = request.headers().get_all(AUTHORIZATION).iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(values.join("|"))))
    });
    let ask = || Request::post("/paid").header(AUTHORIZATION, "Payment their-own");

    let request = ask().body(Full::<Bytes>::default()).unwrap();
    let refused = layer.layer(seen).oneshot(request).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED);
    assert!(mpp::Challenge::parse_all(refused.headers()).is_empty());
    let challenge = Challenge::parse_all(refused.headers()).remove(0);
    let preimage = world.preimage(&challenge.invoice).unwrap();

    let value = format!("L402 {}:{}", challenge.token, preimage.expose_hex());
    let request = ask().header(AUTHORIZATION, value);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let served = layer.layer(seen).oneshot(request).await.unwrap();
    let body = served.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Payment their-own");
}

#[tokio::test]
async fn grpc_callers_read_refusals_in_trailers() {
    let market = Market::new();
    let call = |credential: Option<String>| {
        let mut request = Request::post("/paid").header(CONTENT_TYPE, "application/grpc+proto");
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, credential);
        }
        market.send(request.body(Full::default()).unwrap())
    };

    let unpaid = call(None).await;

    assert_eq!(unpaid.status(), StatusCode::OK);
    assert_eq!(unpaid.headers()["grpc-status"], "13");
    assert_eq!(unpaid.headers()["grpc-message"], "payment required");
    assert_eq!(unpaid.headers()[CONTENT_TYPE], "application/grpc+proto");
    assert_eq!(unpaid.body(), "");
    let challenge = Challenge::parse_all(unpaid.headers()).remove(0);

    let malformed = call(Some("L402 nonsense".to_owned())).await;
    assert_eq!(malformed.headers()["grpc-status"], "16");
    assert_eq!(
        malformed.headers()["grpc-message"],
        "The credential cannot be read."
    );

    let mut limited = call(None).await;
    for _ in 0..30 {
        limited = call(None).await;
    }
    assert_eq!(limited.headers()["grpc-status"], "8");
    assert!(limited.headers().contains_key("retry-after"));

    let preimage = market.world.preimage(&challenge.invoice).unwrap();
    let paid = format!("L402 {}:{}", challenge.token, preimage.expose_hex());
    let served = call(Some(paid)).await;
    assert!(!served.headers().contains_key("grpc-status"));
    assert_eq!(market.served(), 1);
}

#[tokio::test]
async fn without_lightning_grpc_callers_are_told_to_come_back() {
    struct Dead;
    #[async_trait::async_trait]
    impl crate::scheme::InvoiceMaker for Dead {
        async fn make_invoice(
            &self,
            _amount: Msat,
            _description: &str,
            _expiry_secs: u64,
        ) -> Result<crate::scheme::ChallengeInvoice, crate::scheme::InvoiceError> {
            Err(crate::scheme::InvoiceError("no node".to_owned()))
        }
    }
    let world = Arc::new(MemoryWorld::at(1_000));
    let journal = Arc::new(MemoryJournal::default());
    let layer = PaywallLayer::builder(&[1; 32], Arc::new(terms), journal, world.clone())
        .invoices(Arc::new(Dead))
        .build();
    let market = Market {
        world,
        layer,
        calls: Arc::default(),
    };

    let request = Request::post("/paid").header(CONTENT_TYPE, "application/grpc");
    let answer = market.send(request.body(Full::default()).unwrap()).await;

    assert_eq!(answer.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn who_asks_for_the_price_alone_gets_no_invoice() {
    let market = Market::new();
    let offered = market.offered().await;
    let ask = |method: &str, prefer: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri("/paid")
            .header("prefer", prefer)
            .header(AUTHORIZATION, offered.mpp());
        market.send(request.body(Full::default()).unwrap())
    };

    for prefer in ["price-only", "respond-async, Price-Only;x=1"] {
        let told = ask("POST", prefer).await;
        assert_eq!(told.status(), StatusCode::PAYMENT_REQUIRED);
        assert_eq!(told.headers()[PRICE_MSAT], "1500");
        assert_eq!(told.headers()["preference-applied"], "price-only");
        assert!(!told.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(code(&told), "price_only");
        assert_eq!(told.extensions().get(), Some(&Outcome::PriceTold));
    }
    let head = ask("HEAD", "respond-async").await;
    assert_eq!(head.headers()[PRICE_MSAT], "1500");
    assert_eq!(head.body(), "");
    assert!(!head.headers().contains_key("preference-applied"));
    assert_eq!(market.world.count_invoices(), 1);

    // Nothing was taken for it: the payment is still good.
    let served = ask("POST", "return=minimal").await;
    assert_eq!(served.status(), StatusCode::OK);
}

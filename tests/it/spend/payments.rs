//! Payments that buy no answer: invoices and payment requests.

use feria::spend::{Budget, PayRequest};
use feria_paywall::xcashu::cashu::nuts::nut18::{PaymentRequest, Transport, TransportType};
use serde_json::Value;

use super::*;

fn pay(market: &Market, target: &str, key: &str) -> PayRequest {
    PayRequest {
        wallet_id: market.wallet_id.clone(),
        target: target.to_owned(),
        amount: None,
        max_cost: None,
        max_fee: None,
        idempotency_key: Some(key.to_owned()),
    }
}

async fn invoice(market: &Market, sat: u64) -> String {
    let expiry = Duration::from_secs(60);
    let made = market
        .network
        .create_invoice("shop", Msat::new(sat * 1_000), "bread", expiry);
    made.await.unwrap().bolt11
}

#[tokio::test]
async fn an_invoice_is_paid_once_whatever_the_key() {
    let market = Market::open("nut24", 1_000).await;
    let bolt11 = invoice(&market, 100).await;

    let paid = market
        .spender
        .pay_invoice(pay(&market, &bolt11, "k"))
        .await
        .unwrap();
    let again = market
        .spender
        .pay_invoice(pay(&market, &bolt11, "k"))
        .await
        .unwrap();
    let other = market
        .spender
        .pay_invoice(pay(&market, &bolt11, "other"))
        .await;

    assert_eq!(
        (paid.outcome.as_str(), paid.price_msat),
        ("delivered", 100_000)
    );
    assert_eq!(again.id, paid.id);
    assert!(
        matches!(&other, Err(SpendError::Refused { refusal: Refusal::AlreadyPaid(id), .. }) if *id == paid.id),
        "{other:?}"
    );
    assert_eq!(market.network.balance("shop"), Msat::new(100_000));
    market.close().await;
}

#[tokio::test]
async fn a_payment_counts_in_the_budget() {
    let market = Market::open("nut24", 1_000).await;
    let budget = Budget {
        total_msat: Some(150_000),
        ..Budget::default()
    };
    market
        .spender
        .set_budget(&market.wallet_id, budget)
        .await
        .unwrap();
    let (first, second) = (invoice(&market, 100).await, invoice(&market, 100).await);

    market
        .spender
        .pay_invoice(pay(&market, &first, "a"))
        .await
        .unwrap();
    let over = market.spender.pay_invoice(pay(&market, &second, "b")).await;

    assert!(
        matches!(
            &over,
            Err(SpendError::Refused {
                refusal: Refusal::OverBudget { .. },
                ..
            })
        ),
        "{over:?}"
    );
    assert_eq!(market.network.balance("shop"), Msat::new(100_000));
    market.close().await;
}

#[tokio::test]
async fn a_pending_invoice_is_unknown_and_then_what_became_of_it() {
    let market = Market::open("nut24", 1_000).await;
    market.wallets.set_melt_patience(Duration::from_millis(100));
    market.network.set_behaviour(Behaviour::Pending);
    let bolt11 = invoice(&market, 100).await;

    let open = market.spender.pay_invoice(pay(&market, &bolt11, "k")).await;
    let blocked = market
        .spender
        .pay_invoice(pay(&market, &bolt11, "other"))
        .await;

    assert!(matches!(open, Err(SpendError::Unknown { .. })), "{open:?}");
    assert!(
        matches!(blocked, Err(SpendError::Unknown { .. })),
        "{blocked:?}"
    );
    let hash = market.network.pending().pop().unwrap();
    market
        .network
        .resolve_pending(&hash, Resolution::Settle)
        .unwrap();
    let outcome = loop {
        match market.spender.pay_invoice(pay(&market, &bolt11, "k")).await {
            Err(SpendError::Unknown { .. }) => tokio::task::yield_now().await,
            Ok(paid) => break paid.outcome,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(outcome, "delivered");
    assert_eq!(market.network.balance("shop"), Msat::new(100_000));
    market.close().await;
}

#[tokio::test]
async fn an_invoice_over_the_cap_or_without_sense_is_not_paid() {
    let market = Market::open("nut24", 1_000).await;
    let bolt11 = invoice(&market, 100).await;
    let capped = PayRequest {
        max_cost: Some(Msat::new(99_999)),
        ..pay(&market, &bolt11, "k")
    };

    let capped = market.spender.pay_invoice(capped).await;
    let nonsense = market
        .spender
        .pay_invoice(pay(&market, "lnbc1nonsense", "n"))
        .await;

    assert!(
        matches!(
            &capped,
            Err(SpendError::Refused {
                refusal: Refusal::OverCap { .. },
                ..
            })
        ),
        "{capped:?}"
    );
    assert!(
        matches!(nonsense, Err(SpendError::BadRequest(_))),
        "{nonsense:?}"
    );
    assert_eq!(market.balance().await, 1_000);
    market.close().await;
}

fn request(market: &Market, sat: u64, post_to: Option<&str>) -> String {
    let terms = CashuTerms {
        amount: Sat::new(sat),
        unit: "sat".to_owned(),
        mints: vec![market.mint.clone()],
        lock_key: None,
        min_locktime_secs: None,
    };
    let mut request: PaymentRequest = encode(&terms, "bill-7").unwrap().parse().unwrap();
    request.transports = post_to
        .iter()
        .map(|url| Transport {
            _type: TransportType::HttpPost,
            target: (*url).to_owned(),
            tags: Vec::new(),
        })
        .collect();
    request.to_string()
}

#[tokio::test]
async fn a_request_with_an_address_is_paid_by_post_and_once() {
    let market = Market::open("nut24", 1_000).await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let url = format!("http://{}/pay", listener.local_addr().unwrap());
    let got: Arc<parking_lot::Mutex<Vec<Value>>> = Arc::default();
    let seen = Arc::clone(&got);
    let router = Router::new().fallback(move |body: axum::Json<Value>| {
        seen.lock().push(body.0);
        std::future::ready("thanks")
    });
    market.lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    let creq = request(&market, 21, Some(&url));

    let paid = market
        .spender
        .pay_request(pay(&market, &creq, "k"))
        .await
        .unwrap();
    let again = market
        .spender
        .pay_request(pay(&market, &creq, "k"))
        .await
        .unwrap();
    let other = market
        .spender
        .pay_request(pay(&market, &creq, "other"))
        .await;

    assert_eq!(
        (paid.body.as_ref(), again.body.as_ref()),
        (&b"thanks"[..], &b"thanks"[..])
    );
    assert!(matches!(
        other,
        Err(SpendError::Refused {
            refusal: Refusal::AlreadyPaid(_),
            ..
        })
    ));
    let got = got.lock().clone();
    assert_eq!(got.len(), 1);
    assert_eq!(
        (&got[0]["id"], &got[0]["mint"]),
        (&Value::from("bill-7"), &Value::from(market.mint.clone()))
    );
    let sum: u64 = got[0]["proofs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proof| proof["amount"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 21);
    market.close().await;
}

#[tokio::test]
async fn a_request_without_an_address_is_paid_with_a_token_in_hand() {
    let market = Market::open("nut24", 1_000).await;
    let creq = request(&market, 21, None);

    let paid = market
        .spender
        .pay_request(pay(&market, &creq, "k"))
        .await
        .unwrap();
    let again = market
        .spender
        .pay_request(pay(&market, &creq, "k"))
        .await
        .unwrap();

    let token = String::from_utf8(paid.body.to_vec()).unwrap();
    assert_eq!(again.body, token);
    assert_eq!(redeem(&market.seller, 1, &token).await.amount, Sat::new(21));
    assert_eq!(market.balance().await, 1_000 - 21);
    market.close().await;
}

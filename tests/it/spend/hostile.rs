//! Buying from sellers whose 402 is bait, nonsense or endless.

use std::convert::Infallible;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use bytes::Bytes;
use feria::store::index::CatalogRow;
use feria_paywall::xcashu::request::{CashuTerms, encode};
use futures_util::stream;
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::event::{EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::Keys;

use super::*;
use crate::bad_input::Trap;

/// Serves the same answer to every request, counting those that carry a payment.
async fn seller(
    market: &Market,
    status: u16,
    headers: &[(&str, String)],
) -> (String, Arc<AtomicU64>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    serve_with(market, move || {
        let mut response = Response::new(Body::from("{\"code\":\"\u{202e}odd\"}"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = map.clone();
        response
    })
    .await
}

async fn serve_with(
    market: &Market,
    make: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let paid = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&paid);
    let router = Router::new().fallback(move |request: Request<Body>| {
        let headers = request.headers();
        if headers.contains_key("x-cashu") || headers.contains_key("authorization") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        std::future::ready(make())
    });
    market.lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (url, paid)
}

/// Asserts that nothing was paid, and that an honest seller is bought from as before.
async fn check_unharmed(market: Market, paid: &AtomicU64) {
    assert_eq!(paid.load(Ordering::SeqCst), 0);
    assert_eq!(market.balance().await, 1_000);
    let next = market.spender.fetch(market.request()).await.unwrap();
    assert_eq!(next.purchase.unwrap().outcome, "delivered");
    market.close().await;
}

fn l402(macaroon: &str, invoice: &str) -> (&'static str, String) {
    let value = format!("L402 macaroon=\"{macaroon}\", invoice=\"{invoice}\"");
    ("www-authenticate", value)
}

fn macaroon_for(hash: PaymentHash) -> String {
    let identifier = Identifier {
        payment_hash: hash,
        token_id: [3; 32],
    };
    let issuer = Issuer::new(&[9; 32]);
    issuer.issue(&identifier, &[]).unwrap().to_base64()
}

async fn invoice(market: &Market, sat: u64) -> (String, PaymentHash) {
    let invoice = market
        .network
        .create_invoice(
            "seller",
            Msat::new(sat * 1_000),
            "a call",
            Duration::from_secs(60),
        )
        .await
        .unwrap();
    (invoice.bolt11, invoice.payment_hash)
}

fn cashu(mint: &str, unit: &str, sat: u64) -> (&'static str, String) {
    let terms = CashuTerms {
        amount: Sat::new(sat),
        unit: unit.to_owned(),
        mints: vec![mint.to_owned()],
        lock_key: None,
        min_locktime_secs: None,
    };
    ("x-cashu", encode(&terms, "id").unwrap())
}

/// An invoice that no honest seller makes: without an amount, or of the year 2001.
fn odd_invoice(amount_msat: Option<u64>, is_old: bool) -> (String, PaymentHash) {
    let hash = sha256::Hash::hash(b"odd");
    let key = SecretKey::from_slice(&[42; 32]).unwrap();
    let created_at = if is_old { 1_000_000_000 } else { 4_000_000_000 };
    let mut builder = InvoiceBuilder::new(Currency::Regtest)
        .description("any".to_owned())
        .payment_hash(hash)
        .payment_secret(PaymentSecret([1; 32]))
        .duration_since_epoch(Duration::from_secs(created_at))
        .min_final_cltv_expiry_delta(18);
    if let Some(amount) = amount_msat {
        builder = builder.amount_milli_satoshis(amount);
    }
    let sign = |message: &_| Secp256k1::new().sign_ecdsa_recoverable(message, &key);
    let invoice = builder.build_signed(sign).unwrap();
    (invoice.to_string(), PaymentHash::new(hash.to_byte_array()))
}

#[tokio::test]
async fn a_402_that_cannot_be_used_is_refused_with_its_reason() {
    let market = Market::open("nut24", 1_000).await;
    let (fair, _) = invoice(&market, 10).await;
    let (dear, dear_hash) = invoice(&market, 5_000).await;
    let (open, open_hash) = odd_invoice(None, false);
    let (old, old_hash) = odd_invoice(Some(10_000), true);
    let other = macaroon_for(PaymentHash::new([1; 32]));
    let zero = "lnbcrt1nonsense";
    let many = (0..1_000).map(|n| format!("L402 macaroon=\"A{n}\", invoice=\"x{n}\""));
    let many: Vec<String> = many.collect();
    let text = |value: &str| ("www-authenticate", value.to_owned());
    let cases: Vec<(Vec<(&str, String)>, &str)> = vec![
        (vec![], "neither an L402 challenge nor a Cashu request"),
        (vec![text("Basic realm=\"x\"")], "neither"),
        (vec![text("L402")], "neither"),
        (vec![text("L402 macaroon=\"\", invoice=\"\"")], "neither"),
        (vec![l402("AAAA", zero)], "decode"),
        (vec![l402(&macaroon_for(open_hash), &open)], "amount"),
        (vec![l402(&macaroon_for(old_hash), &old)], "expired"),
        (vec![l402(&other, &fair)], "another payment"),
        (
            vec![l402(&macaroon_for(dear_hash), &dear)],
            "the most this call may cost",
        ),
        (vec![l402(&"A".repeat(30_000), &fair)], "sent back"),
        (vec![("www-authenticate", many.join(", "))], "l402"),
        (vec![("x-cashu", "creqA!!!".to_owned())], "nut24"),
        (vec![("x-cashu", "creqAo".repeat(5_000))], "nut24"),
        (vec![cashu(&market.mint, "usd", 10)], "usd"),
        (
            vec![cashu(&market.mint, &"\u{202e}".repeat(900), 10)],
            "cannot pay in",
        ),
        (vec![cashu(&market.mint, "sat", 0)], "amount"),
        (
            vec![cashu(&market.mint, "sat", 5_000)],
            "the most this call may cost",
        ),
        (vec![cashu(&market.mint, "sat", u64::MAX)], ""),
        (
            vec![cashu("http://127.0.0.1:9", "sat", 10)],
            "no way to pay",
        ),
    ];
    let mut paid_in_all = 0;
    for (headers, reason) in &cases {
        let (url, paid) = seller(&market, 402, headers).await;

        let refused = market
            .spender
            .fetch(FetchRequest::get(&market.wallet_id, &url))
            .await;

        let words = match refused {
            Err(error @ SpendError::Refused { .. }) => error.to_string(),
            other => panic!("{headers:?}: {other:?}"),
        };
        assert!(words.contains(reason), "{words} lacks {reason}");
        assert!(words.len() < 4_000, "{} bytes", words.len());
        assert!(!words.contains('\u{202e}'), "{words}");
        paid_in_all += paid.load(Ordering::SeqCst);
        assert_eq!(market.balance().await, 1_000);
    }
    let log = market.wallets.audit_log(&market.wallet_id).await.unwrap();
    assert!(log.entries.iter().all(|entry| entry.kind != "spend"));

    check_unharmed(market, &AtomicU64::new(paid_in_all)).await;
}

#[tokio::test]
async fn what_an_answer_may_hold_is_bounded() {
    let market = Market::open("nut24", 1_000).await;
    let endless = |status: u16| {
        move || {
            let block = Bytes::from(vec![b'x'; 1 << 20]);
            let blocks = stream::repeat_with(move || Ok::<_, Infallible>(block.clone()));
            let mut response = Response::new(Body::from_stream(blocks));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
    };
    let (free, _) = serve_with(&market, endless(200)).await;
    let (bait, paid) = serve_with(&market, endless(402)).await;
    let headers: Vec<_> = (0..90).map(|_| ("x-long", "h".repeat(1_000))).collect();
    let (wordy, _) = seller(&market, 402, &headers).await;

    let fetch = |url: &str| {
        market
            .spender
            .fetch(FetchRequest::get(&market.wallet_id, url))
    };
    let (free, bait, wordy) = (fetch(&free).await, fetch(&bait).await, fetch(&wordy).await);

    let words = free.unwrap_err().to_string();
    assert!(words.contains("longer than 33554432 bytes"), "{words}");
    let words = bait.unwrap_err().to_string();
    assert!(words.contains("neither"), "{words}");
    let words = wordy.unwrap_err().to_string();
    assert!(words.contains("headers of the answer exceed"), "{words}");
    check_unharmed(market, &paid).await;
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let market = Market::open("nut24", 1_000).await;
    let trap = Trap::set().await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/", trap.address());
        let (url, _) = seller(&market, status, &[("location", location.clone())]).await;

        let fetched = market
            .spender
            .fetch(FetchRequest::get(&market.wallet_id, &url))
            .await
            .unwrap();

        assert_eq!(fetched.status, status);
        assert_eq!(fetched.headers["location"], location);
        assert!(fetched.purchase.is_none());
    }
    trap.check_untouched().await;
    check_unharmed(market, &AtomicU64::new(0)).await;
}

#[tokio::test]
async fn a_402_above_the_signed_listing_is_refused() {
    let market = Market::open("nut24", 1_000).await;
    let (url, paid) = seller(&market, 402, &[cashu(&market.mint, "sat", 11)]).await;
    let index = Index::in_memory().unwrap();
    let event = EventBuilder::new(Kind::from(31_402), "{}")
        .tag(Tag::custom("d", ["bait"]))
        .finalize(&Keys::generate())
        .unwrap();
    let row = CatalogRow {
        coordinate: "31402:bait".to_owned(),
        event_id: event.id.to_hex(),
        seller: event.pubkey.to_hex(),
        dialect: "31402".to_owned(),
        name: "bait".to_owned(),
        capability: "call".to_owned(),
        price_msat: Some(10_000),
        price_text: "10 sat".to_owned(),
        endpoint: Some(url.clone()),
        method: "GET".to_owned(),
        rails: vec!["nut24".to_owned()],
        mints: vec![market.mint.clone()],
        published_at: 1,
        ..CatalogRow::default()
    };
    index.insert(event, vec![row], None, 1).await.unwrap();
    let spender = Spender::new(SpendParts {
        config: SpendConfig {
            max_price: Msat::new(1_000_000),
            max_fee: Msat::new(20_000),
            price_tolerance_percent: 0,
            timeout_secs: 3,
            ..SpendConfig::default()
        },
        ledger: market.ledger.clone(),
        wallets: market.wallets.clone(),
        index,
        lightning: Lightning::default(),
        clock: Arc::new(feria::clock::SystemClock),
        entropy: Arc::new(SeededEntropy::new(8)),
    })
    .unwrap();

    let refused = spender
        .fetch(FetchRequest::get(&market.wallet_id, &url))
        .await;

    let words = refused.unwrap_err().to_string();
    assert!(words.contains("asks 11 sat"), "{words}");
    assert!(words.contains("31402:bait says 10 sat"), "{words}");
    check_unharmed(market, &paid).await;
}

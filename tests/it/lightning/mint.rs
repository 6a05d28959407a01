//! A Cashu mint as Lightning: what it receives is ecash, what it pays is melted.

use feria::config::MintBackendConfig;
use feria::spend::{FetchRequest, Rail};

use super::*;
use crate::wallet::line::{Cut, Line};

const BACKEND: &str = "bank";

fn uses(mint: &str) -> impl FnOnce(&mut Config) {
    let mint = mint.to_owned();
    move |config| {
        config.mints = vec![MintEntry {
            url: mint,
            cap: Sat::new(10_000),
        }];
        let backend = BackendConfig::Mint(MintBackendConfig::default());
        config.lightning.backends = [(BACKEND.to_owned(), backend)].into();
    }
}

/// A seller whose mint makes its invoices.
async fn seller(market: &Market, mint: &SandboxMint) -> Node {
    Node::open(market, 1, uses(&mint.url)).await
}

/// Books what was settled, as the node itself does every few seconds.
async fn collect(node: &Node) {
    node.app.gateway.sync_settled().await.unwrap();
}

#[tokio::test]
async fn a_call_paid_through_a_mint_arrives_as_ecash() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = seller(&market, &mint).await;
    let challenge = node.challenge().await;

    let preimage = market.pay(&challenge.invoice).await;
    let served = node.call(&challenge, &preimage).await;
    collect(&node).await;

    assert_eq!(served, (200, "served".to_owned()));
    assert_eq!(node.held_sat().await, PRICE);
    assert_eq!(node.booked(Account::lightning(BACKEND)).await, 0);
    assert_eq!(
        node.booked(Account::income("data")).await,
        -(PRICE as i64 * 1_000)
    );
    assert_eq!(node.booked(Account::external("funding")).await, 0);
    node.check_books().await;
}

#[tokio::test]
async fn a_paid_invoice_is_taken_in_once_though_the_node_stops_in_between() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = seller(&market, &mint).await;
    let challenge = node.challenge().await;
    let preimage = market.pay(&challenge.invoice).await;

    mint.set_available(false);
    let served = node.call(&challenge, &preimage).await;
    let away = node.app.gateway.sync_settled().await;
    let node = node.restarted(&market).await;
    let still_away = node.app.gateway.sync_settled().await;
    mint.set_available(true);
    let node = node.restarted(&market).await;
    collect(&node).await;
    collect(&node).await;

    assert_eq!(served.0, 200, "an offline mint does not stop who has paid");
    assert!(away.is_err() && still_away.is_err());
    assert_eq!(node.held_sat().await, PRICE);
    assert_eq!(node.booked(Account::lightning(BACKEND)).await, 0);
    assert_eq!(mint.outstanding_sat().await.unwrap(), PRICE);
    node.check_books().await;
}

/// The process may die at each of these: the invoice is settled, its ecash is not here.
#[tokio::test]
async fn ecash_that_the_mint_does_not_hand_out_at_once_is_received_once() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for cut in [Cut::Answer(BUSY), Cut::AnswerAfter(BUSY), Cut::CloseOnReply] {
        let market = Market::open();
        let mint = market.mint("one").await;
        let line = Line::to(mint.url.trim_start_matches("http://")).await;
        let node = Node::open(&market, 1, uses(&line.url)).await;
        let challenge = node.challenge().await;
        let preimage = market.pay(&challenge.invoice).await;
        node.call(&challenge, &preimage).await;

        line.cut(cut, "POST /v1/mint/bolt11 ");
        collect(&node).await;
        let owed = node.booked(Account::lightning(BACKEND)).await;
        let held = node.held_sat().await;
        line.mend();
        let node = node.restarted(&market).await;
        collect(&node).await;

        let paid = PRICE as i64 * 1_000;
        assert_eq!(
            owed + held as i64 * 1_000,
            paid,
            "what is not here is booked as owed by the mint"
        );
        assert_eq!(node.held_sat().await, PRICE);
        assert_eq!(node.booked(Account::lightning(BACKEND)).await, 0);
        assert_eq!(node.booked(Account::income("data")).await, -paid);
        node.check_books().await;
    }
}

#[tokio::test]
async fn what_was_paid_and_never_used_is_taken_in_too() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = seller(&market, &mint).await;
    let challenge = node.challenge().await;
    market.pay(&challenge.invoice).await;

    collect(&node).await;
    let early = node.held_sat().await;
    market.clock.advance(Duration::from_secs(16));
    collect(&node).await;

    assert_eq!(early, 0, "an unpaid invoice is asked about now and then");
    assert_eq!(node.held_sat().await, PRICE);
    assert_eq!(
        node.booked(Account::income("unclaimed")).await,
        -(PRICE as i64 * 1_000)
    );
    node.check_books().await;
}

#[tokio::test]
async fn an_invoice_that_nobody_paid_is_forgotten_after_its_time() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = seller(&market, &mint).await;
    let backend = node.backend(BACKEND);
    let invoice = backend
        .create_invoice(Msat::new(1_500), "", PATIENCE)
        .await
        .unwrap();

    let open = backend.invoice_state(&invoice.payment_hash).await.unwrap();
    market.clock.advance(Duration::from_secs(
        invoice.expires_at - u64::min(invoice.expires_at, now(&market)) + 1,
    ));
    let expired = backend.invoice_state(&invoice.payment_hash).await.unwrap();
    market.clock.advance(Duration::from_secs(901));
    collect(&node).await;
    let forgotten = backend.invoice_state(&invoice.payment_hash).await.unwrap();

    let expires_at = invoice.expires_at;
    assert_eq!(open, InvoiceState::Open { expires_at });
    assert_eq!(expired, InvoiceState::Expired);
    assert_eq!(forgotten, InvoiceState::NotFound);
}

fn now(market: &Market) -> u64 {
    use feria::clock::Clock;
    market.clock.now()
}

#[tokio::test]
async fn without_its_mint_nothing_is_sold_and_the_health_says_since_when() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = seller(&market, &mint).await;
    mint.set_available(false);

    let asked = http()
        .get(node.url())
        .header("accept", "application/problem+json")
        .send()
        .await
        .unwrap();

    let health = &node.app.node.lightning.health()[0];
    assert!(asked.headers().get("www-authenticate").is_none());
    assert!(!health.is_up && health.away_since.is_some() && health.last_error.is_some());
    mint.set_available(true);
    node.challenge().await;
    assert!(node.app.node.lightning.health()[0].is_up);
}

#[tokio::test]
async fn a_full_cap_makes_no_invoice() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = Node::open(&market, 1, |config| {
        uses(&mint.url)(config);
        config.mints[0].cap = Sat::new(PRICE - 1);
    })
    .await;

    let backend = node.backend(BACKEND);
    let refused = backend
        .create_invoice(Msat::new(PRICE * 1_000), "", PATIENCE)
        .await;

    assert!(refused.unwrap_err().to_string().contains("may take"));
}

/// A node that pays from its mint.
async fn payer(market: &Market, mint: &SandboxMint) -> Node {
    let node = Node::open(market, 2, uses(&mint.url)).await;
    node.fund(market, &mint.url, 1_000).await;
    node
}

#[tokio::test]
async fn an_invoice_is_paid_once_whoever_asks_how_often() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = payer(&market, &mint).await;
    market.network.set_fee(Sat::new(1).into());
    let invoice = market.invoice(100).await;
    let limit = Msat::new(10_000);

    let backend = node.backend(BACKEND);
    let (one, two) = tokio::join!(
        backend.pay(&invoice.bolt11, limit, PATIENCE),
        backend.pay(&invoice.bolt11, limit, PATIENCE),
    );
    let node = node.restarted(&market).await;
    let later = node
        .backend(BACKEND)
        .payment_state(&invoice.payment_hash)
        .await;

    for paid in [&one, &two, &later] {
        assert!(
            matches!(paid, PaymentState::Succeeded { preimage, .. }
                if preimage.opens(&invoice.payment_hash)),
            "{paid:?}"
        );
    }
    let spent = 1_000 - node.held_sat().await;
    assert_eq!(market.network.balance("shop"), Msat::new(100_000));
    assert_eq!(
        node.booked(Account::lightning(BACKEND)).await,
        spent as i64 * 1_000,
        "whoever has it paid books the rest"
    );
    node.check_books().await;
}

#[tokio::test]
async fn a_failed_payment_may_be_tried_again_and_a_pending_one_not() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = payer(&market, &mint).await;
    node.app
        .wallets
        .set_melt_patience(Duration::from_millis(300));
    let (lost, invoice) = (market.invoice(100).await, market.invoice(100).await);
    let limit = Msat::new(10_000);
    let pay = || async {
        let backend = node.backend(BACKEND);
        backend.pay(&invoice.bolt11, limit, PATIENCE).await
    };
    let backend = node.backend(BACKEND);

    market.network.set_behaviour(Behaviour::Fail);
    let failed = backend.pay(&lost.bolt11, limit, PATIENCE).await;
    backend.pay(&lost.bolt11, limit, PATIENCE).await;
    let second_try = format!("lightning:{}:1", lost.payment_hash);
    assert!(node.app.wallets.find_melt(&second_try).await.is_some());
    market.network.set_behaviour(Behaviour::Pending);
    let pending = pay().await;
    market.network.set_behaviour(Behaviour::Succeed);
    let still = pay().await;
    market
        .network
        .resolve_pending(&invoice.payment_hash, Resolution::Settle)
        .unwrap();
    let settled = soon(async {
        loop {
            let state = pay().await;
            if !matches!(state, PaymentState::Unknown { .. }) {
                return state;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;

    assert!(matches!(failed, PaymentState::Failed { .. }), "{failed:?}");
    for state in [pending, still] {
        assert!(matches!(state, PaymentState::Unknown { .. }), "{state:?}");
    }
    assert!(
        matches!(settled, PaymentState::Succeeded { .. }),
        "{settled:?}"
    );
    assert_eq!(market.network.balance("shop"), Msat::new(100_000));
    node.check_books().await;
}

#[tokio::test]
async fn fees_over_the_limit_and_what_was_never_begun_have_failed() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let node = payer(&market, &mint).await;
    market.network.set_fee(Sat::new(5).into());
    let invoice = market.invoice(900).await;
    let backend = node.backend(BACKEND);

    let dear = backend.pay(&invoice.bolt11, Msat::ZERO, PATIENCE).await;
    let never = backend.payment_state(&PaymentHash::new([3; 32])).await;

    assert!(matches!(dear, PaymentState::Failed { reason } if reason.contains("exceed")));
    assert!(matches!(never, PaymentState::Failed { .. }));
    assert_eq!(node.held_sat().await, 1_000);
}

/// Both sides use one mint: a melt inside it would give no preimage.
#[tokio::test]
async fn a_seller_at_the_same_mint_is_paid_in_ecash_or_not_at_all() {
    let market = Market::open();
    let mint = market.mint("one").await;
    let (seller, buyer) = (seller(&market, &mint).await, payer(&market, &mint).await);
    let request = |rail| {
        let mut request = FetchRequest::get(TREASURY, seller.url());
        request.rail = rail;
        request
    };

    let challenge = seller.challenge().await;
    let by_backend = buyer
        .backend(BACKEND)
        .pay(&challenge.invoice, Msat::new(10_000), PATIENCE)
        .await;
    let by_melt = buyer.app.spender.fetch(request(Rail::Lightning)).await;
    let bought = buyer.app.spender.fetch(request(Rail::Auto)).await.unwrap();

    assert!(
        matches!(&by_backend, PaymentState::Failed { reason } if reason.contains("no preimage")),
        "{by_backend:?}"
    );
    assert!(by_melt.unwrap_err().to_string().contains("no preimage"));
    assert_eq!(bought.status, 200);
    assert_eq!(buyer.held_sat().await, 1_000 - PRICE);
    buyer.check_books().await;
    seller.check_books().await;
}

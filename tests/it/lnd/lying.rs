//! What an lnd may say or fail to say, and what we make of the money then.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use feria::config::{LndConfig, Network};
use feria::lightning::{InvoiceState, LightningBackend, LightningError, LndBackend};
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;

use super::bench::{
    Bench, FEE_LIMIT, PATIENCE, SEND, SHORT, TRACK, backend, not_known, refusal, tell,
};
use super::fake::{End, Reply, info};

#[tokio::test]
async fn a_payment_with_its_preimage_is_succeeded() {
    let bench = Bench::open().await;
    bench.fake.on(SEND, [bench.paid()]);

    assert_eq!(bench.pay().await, "succeeded for 3 msat");

    let sent = bench.fake.requests.lock().last().cloned().unwrap();
    assert!(sent.contains("grpc-metadata-macaroon: 020103"), "{sent}");
    assert!(sent.contains(r#""fee_limit_msat":"2000""#), "{sent}");
    assert!(sent.contains(r#""timeout_seconds":19"#), "{sent}");
    bench.close().await;
}

#[tokio::test]
async fn success_without_a_preimage_is_not_believed() {
    let bench = Bench::open().await;
    bench.fake.on(
        SEND,
        [Reply::Lines(vec![bench.says("SUCCEEDED", "")], End::Clean)],
    );

    let said = bench.pay().await;

    assert_eq!(
        said,
        "unknown: lnd says that it paid, and shows no preimage"
    );
    bench.close().await;
}

#[tokio::test]
async fn a_wrong_preimage_is_not_believed() {
    let bench = Bench::open().await;
    let wrong = bench.says("SUCCEEDED", &"ab".repeat(32));
    let lines = vec![bench.says("IN_FLIGHT", ""), wrong];
    bench.fake.on(SEND, [Reply::Lines(lines, End::Clean)]);

    let said = bench.pay().await;

    assert_eq!(
        said,
        "unknown: lnd says that it paid, and its preimage is not the invoice's"
    );
    bench.close().await;
}

#[tokio::test]
async fn word_of_another_payment_says_nothing() {
    let bench = Bench::open().await;
    let other = bench
        .says("FAILED", "")
        .replace(&bench.hash().to_string(), &"00".repeat(32));
    bench.fake.on(SEND, [Reply::Lines(vec![other], End::Clean)]);

    assert_eq!(bench.pay().await, "unknown: lnd tells of another payment");
    bench.close().await;
}

#[tokio::test]
async fn what_lnd_calls_failed_has_failed() {
    let bench = Bench::open().await;
    let lines = vec![bench.says("IN_FLIGHT", ""), bench.says("FAILED", "")];
    bench.fake.on(SEND, [Reply::Lines(lines, End::Clean)]);

    let said = bench.pay().await;

    assert_eq!(said, "failed: there is no route within the fee limit");
    bench.close().await;
}

#[tokio::test]
async fn a_payment_under_way_for_ever_is_pending() {
    let bench = Bench::open().await;
    let line = bench.says("IN_FLIGHT", "") + "\n";
    for end in [End::Silence, End::Again(line.clone())] {
        let lines = vec![bench.says("INITIATED", "")];
        bench.fake.on(SEND, [Reply::Lines(lines, end)]);

        assert_eq!(bench.pay_for(SHORT).await, "pending");
    }
    bench.close().await;
}

#[tokio::test]
async fn a_line_without_end_is_cut_and_the_payment_asked_after() {
    let bench = Bench::open().await;
    let end = End::Again("x".repeat(64 * 1024));
    bench.fake.on(SEND, [Reply::Lines(Vec::new(), end)]);
    bench.fake.on(TRACK, [not_known()]);

    let said = bench.pay().await;

    assert_eq!(said, "unknown: no answer of an lnd: a line without end");
    assert_eq!(bench.fake.count(TRACK), 1);
    bench.close().await;
}

#[tokio::test]
async fn a_stream_without_end_is_cut() {
    let bench = Bench::open().await;
    // Empty lines are keep-alives to some proxies; 32 MiB of them are none.
    let end = End::Again("\n".repeat(64 * 1024));
    bench.fake.on(SEND, [Reply::Lines(Vec::new(), end)]);
    bench.fake.on(TRACK, [Reply::Nothing]);

    let said = bench.pay().await;

    assert!(
        said.starts_with("unknown: no answer of an lnd: a stream without end"),
        "{said}"
    );
    bench.close().await;
}

#[tokio::test]
async fn an_error_that_is_not_lnds_leaves_the_outcome_unknown() {
    let bench = Bench::open().await;
    bench
        .fake
        .on(SEND, [Reply::Body(502, "<html>bad gateway".to_owned())]);
    bench.fake.on(TRACK, [not_known()]);

    assert_eq!(bench.pay().await, "unknown: no answer of an lnd: HTTP 502");
    bench.close().await;
}

#[tokio::test]
async fn what_lnd_refuses_and_does_not_know_has_failed() {
    let bench = Bench::open().await;
    bench.fake.on(SEND, [refusal(2, "invoice expired")]);
    bench.fake.on(TRACK, [not_known()]);

    assert_eq!(bench.pay().await, "failed: lnd says: invoice expired");
    assert!(bench.state().await.starts_with("failed:"));
    bench.close().await;
}

#[tokio::test]
async fn a_payment_that_lnd_knows_already_is_tracked_not_paid_again() {
    let bench = Bench::open().await;
    let in_flight = Reply::Lines(vec![bench.says("IN_FLIGHT", "")], End::Silence);
    for message in ["payment is in transition", "invoice is already paid"] {
        bench.fake.on(SEND, [refusal(6, message)]);
        bench.fake.on(TRACK, [in_flight.clone(), bench.paid()]);

        assert_eq!(bench.pay().await, "succeeded for 3 msat", "{message}");
    }
    bench.close().await;
}

#[tokio::test]
async fn a_cut_before_the_first_word_is_in_doubt_for_a_minute() {
    let bench = Bench::open().await;
    bench.fake.on(SEND, [Reply::Nothing]);
    let failed_before = Reply::Lines(vec![bench.says("FAILED", "")], End::Clean);
    for unborn in [not_known(), failed_before] {
        bench.fake.on(TRACK, [unborn]);

        let said = bench.pay().await;
        let asked = bench.state().await;

        assert!(said.starts_with("unknown: the answer was lost"), "{said}");
        assert_eq!(asked, "unknown: a request to pay may still arrive at lnd");
        bench.clock.advance(Duration::from_secs(61));
        assert!(bench.state().await.starts_with("failed:"));
    }
    bench.close().await;
}

#[tokio::test]
async fn a_cut_in_the_middle_is_followed_up() {
    let bench = Bench::open().await;
    let cut = Reply::Lines(vec![bench.says("IN_FLIGHT", "")], End::Cut);
    bench.fake.on(SEND, [cut.clone()]);
    bench.fake.on(TRACK, [cut.clone(), bench.paid()]);
    assert_eq!(bench.pay().await, "succeeded for 3 msat");

    bench.fake.on(TRACK, [Reply::Nothing]);
    assert_eq!(bench.pay().await, "pending");

    bench.fake.on(TRACK, [bench.paid()]);
    assert_eq!(bench.state().await, "pending");
    let done = bench.says("SUCCEEDED", &bench.preimage.expose_hex());
    bench.fake.on(TRACK, [Reply::Lines(vec![done], End::Clean)]);
    assert_eq!(bench.state().await, "succeeded for 3 msat");
    bench.close().await;
}

#[tokio::test]
async fn nobody_at_the_address_means_that_nothing_was_paid() {
    let bench = Bench::open().await;
    bench.fake.on(SEND, [bench.paid()]);
    bench.pay().await;
    bench.lifecycle.shut_down(Duration::from_secs(5)).await;

    let said = bench.pay().await;
    let asked = bench.state().await;

    assert!(said.starts_with("failed: lnd is not reached"), "{said}");
    assert!(asked.starts_with("unknown: no connection"), "{asked}");
}

#[tokio::test]
async fn only_the_pinned_certificate_is_spoken_to() {
    let bench = Bench::open().await;
    bench.fake.on(SEND, [bench.paid()]);

    let pinned = backend(&bench.fake, &bench.folder, "upstream.pem", &bench.clock);
    let paid = pinned.pay(&bench.bolt11, FEE_LIMIT, PATIENCE).await;
    let mut config = LndConfig {
        url: format!("https://{}", bench.fake.address),
        ..LndConfig::default()
    };
    config.tls_cert = String::new();
    let public = LndBackend::open(
        "public",
        &config,
        Network::Regtest,
        bench.folder.path(),
        bench.clock.clone(),
    )
    .unwrap();
    let requests = bench.fake.requests.lock().len();
    let refused = public.pay(&bench.bolt11, FEE_LIMIT, PATIENCE).await;

    assert_eq!(tell(&paid), "succeeded for 3 msat");
    assert!(tell(&refused).contains("certificate"), "{refused:?}");
    assert_eq!(bench.fake.requests.lock().len(), requests);
    bench.close().await;
}

#[tokio::test]
async fn an_lnd_of_another_network_is_refused_for_everything() {
    let bench = Bench::open().await;
    let mainnet = [Reply::Body(200, info("mainnet"))];
    bench.fake.on("GET /v1/getinfo", mainnet);

    let paid = bench.pay().await;
    let made = bench
        .lnd
        .create_invoice(Msat::new(1_000), "x", PATIENCE)
        .await;

    assert!(paid.starts_with("failed:"), "{paid}");
    assert!(
        paid.contains("it is on mainnet, this node on regtest"),
        "{paid}"
    );
    assert!(
        matches!(made, Err(LightningError::Refused { .. })),
        "{made:?}"
    );
    assert_eq!(bench.fake.count(SEND), 0);
    bench.close().await;
}

#[tokio::test]
async fn an_invoice_that_was_not_asked_for_is_refused() {
    let bench = Bench::open().await;
    let answer = |hash: &PaymentHash| {
        let hash = STANDARD.encode(hash.as_bytes());
        let bolt11 = &bench.bolt11;
        [Reply::Body(
            200,
            format!(r#"{{"r_hash":"{hash}","payment_request":"{bolt11}","add_index":"1"}}"#),
        )]
    };
    let make = |sat: u64| {
        bench
            .lnd
            .create_invoice(Msat::new(sat * 1_000), "x", PATIENCE)
    };

    bench.fake.on("POST /v1/invoices", answer(&bench.hash()));
    let (right, dear, cheap) = (make(10).await, make(9).await, make(11).await);
    bench
        .fake
        .on("POST /v1/invoices", answer(&PaymentHash::new([1; 32])));
    let foreign = make(10).await;

    assert_eq!(right.unwrap().payment_hash, bench.hash());
    for lie in [dear, cheap, foreign] {
        assert!(
            matches!(lie, Err(LightningError::Refused { .. })),
            "{lie:?}"
        );
    }
    bench.close().await;
}

#[tokio::test]
async fn states_of_own_invoices_are_read() {
    let bench = Bench::open().await;
    let hash = bench.hash();
    let says = |state: &str| {
        let r_hash = STANDARD.encode(hash.as_bytes());
        let body = format!(
            r#"{{"r_hash":"{r_hash}","state":"{state}","creation_date":"100","expiry":"50","amt_paid_msat":"7"}}"#
        );
        bench.fake.on("GET /v1/invoice/", [Reply::Body(200, body)]);
        bench.lnd.invoice_state(&hash)
    };
    let open = InvoiceState::Open { expires_at: 150 };
    let settled = InvoiceState::Settled {
        amount: Msat::new(7),
    };

    assert_eq!(says("OPEN").await.unwrap(), open);
    assert_eq!(says("ACCEPTED").await.unwrap(), open);
    assert_eq!(says("SETTLED").await.unwrap(), settled);
    assert_eq!(says("CANCELED").await.unwrap(), InvoiceState::Expired);
    assert!(says("PAID").await.is_err());
    bench.fake.on("GET /v1/invoice/", [not_known()]);
    let unheard = bench.lnd.invoice_state(&hash).await.unwrap();
    assert_eq!(unheard, InvoiceState::NotFound);
    bench.close().await;
}

#[tokio::test]
async fn settled_invoices_come_by_index_whatever_else_the_stream_says() {
    let bench = Bench::open().await;
    let line = |state: &str, index: u64| {
        let hash = STANDARD.encode([u8::try_from(index).unwrap(); 32]);
        format!(
            r#"{{"result":{{"r_hash":"{hash}","state":"{state}","settle_index":"{index}","amt_paid_msat":"5"}}}}"#
        )
    };
    let lines = vec![
        line("OPEN", 0),
        line("SETTLED", 9),
        line("SETTLED", 3),
        line("SETTLED", 8),
        line("SETTLED", 9),
    ];
    let subscribe = "GET /v1/invoices/subscribe?settle_index=7";
    bench
        .fake
        .on(subscribe, [Reply::Lines(lines, End::Silence)]);

    let settled = bench.lnd.settled_since(7).await.unwrap();

    let indexes: Vec<u64> = settled.iter().map(|one| one.index).collect();
    assert_eq!(indexes, [8, 9]);
    bench.close().await;
}

#[tokio::test]
async fn the_first_settled_invoice_is_found_in_the_list() {
    let bench = Bench::open().await;
    let invoice = |state: &str, add: u64, settle: u64| {
        let hash = STANDARD.encode([u8::try_from(add).unwrap(); 32]);
        format!(
            r#"{{"r_hash":"{hash}","state":"{state}","add_index":"{add}","settle_index":"{settle}","amt_paid_msat":"5"}}"#
        )
    };
    let page = |invoices: [String; 3]| {
        let list = invoices.join(",");
        [Reply::Body(
            200,
            format!(r#"{{"invoices":[{list}],"last_index_offset":"3"}}"#),
        )]
    };
    let open = page([
        invoice("CANCELED", 1, 0),
        invoice("OPEN", 2, 0),
        invoice("OPEN", 3, 0),
    ]);
    bench.fake.on("GET /v1/invoices?index_offset=0&", open);
    let none = bench.lnd.settled_since(0).await.unwrap();
    // What was final is not read again.
    let paid = page([
        invoice("OPEN", 2, 0),
        invoice("SETTLED", 3, 1),
        invoice("CANCELED", 3, 0),
    ]);
    bench.fake.on("GET /v1/invoices?index_offset=1&", paid);
    let first = bench.lnd.settled_since(0).await.unwrap();

    assert!(none.is_empty());
    let found: Vec<(u64, u64)> = first
        .iter()
        .map(|one| (one.index, one.amount.as_u64()))
        .collect();
    assert_eq!(found, [(1, 5)]);
    bench.close().await;
}

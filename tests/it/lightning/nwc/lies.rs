//! Wallets that lie, stammer or say nothing: each leaves its own words, and nothing is paid twice.

use super::super::wallet::Said;
use super::*;

/// Pays an invoice by a wallet that says `script` to `pay_invoice` and `found` to a
/// look-up, then asks again, and by paying again. Returns what was said each time.
async fn pay_by(
    pay: impl Fn(&Preimage) -> Vec<Said> + Send + Sync + 'static,
    found: impl Fn(&Preimage) -> Vec<Said> + Send + Sync + 'static,
) -> ([PaymentState; 3], usize) {
    let market = Market::open();
    let relay = relay(&market).await;
    let invoice = market.invoice(100).await;
    let preimage = market.pay(&invoice.bolt11).await;
    let script: Script = Box::new(move |method, _| match method {
        "pay_invoice" => pay(&preimage),
        "lookup_invoice" => found(&preimage),
        _ => vec![result(method, json!({"methods": []}))],
    });
    let wallet = ScriptedWallet::start(&relay.url, false, script).await;
    let node = node(&market, &wallet.uri()).await;
    let backend = node.backend(BACKEND);
    let pay = || backend.pay(&invoice.bolt11, LIMIT, Duration::from_secs(1));

    let first = pay().await;
    let asked = backend.payment_state(&invoice.payment_hash).await;
    let second = pay().await;

    ([first, asked, second], wallet.count("pay_invoice"))
}

fn paid_with(preimage: &str) -> Said {
    result(
        "pay_invoice",
        json!({"preimage": preimage, "fees_paid": 1_000}),
    )
}

fn not_found(_: &Preimage) -> Vec<Said> {
    vec![error("lookup_invoice", "NOT_FOUND")]
}

/// The state is unknown for this reason, stays so, and nothing is paid twice.
#[track_caller]
fn check_unknown((states, payments): ([PaymentState; 3], usize), why: &str) {
    assert_eq!(payments, 1, "{states:?}");
    let [first, later @ ..] = states;
    assert!(
        matches!(&first, PaymentState::Unknown { reason } if reason.contains(why)),
        "{first:?} lacks {why}"
    );
    for state in later {
        assert!(matches!(state, PaymentState::Unknown { .. }), "{state:?}");
    }
}

#[tokio::test]
async fn success_without_preimage_is_unknown() {
    let told = pay_by(|_| vec![paid_with("")], not_found).await;
    check_unknown(told, "shows no preimage");
}

#[tokio::test]
async fn a_preimage_that_the_answer_lacks_is_found_in_the_books() {
    let settled = |preimage: &Preimage| {
        let preimage = preimage.expose_hex();
        vec![result(
            "lookup_invoice",
            json!({"type": "outgoing", "state": "settled", "preimage": preimage, "fees_paid": 7}),
        )]
    };
    let (states, payments) = pay_by(|_| vec![paid_with("")], settled).await;

    assert_eq!(payments, 1);
    for state in states {
        assert!(
            matches!(state, PaymentState::Succeeded { fee, .. } if fee == Msat::new(7)),
            "{state:?}"
        );
    }
}

#[tokio::test]
async fn a_preimage_of_something_else_is_unknown() {
    let other = hex::encode([5; 32]);
    let told = pay_by(move |_| vec![paid_with(&other)], not_found).await;
    check_unknown(told, "a preimage that is not the invoice's");
}

#[tokio::test]
async fn silence_is_unknown() {
    check_unknown(pay_by(|_| Vec::new(), not_found).await, "silent");
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_none() {
    let forged = |preimage: &Preimage| {
        let preimage = preimage.expose_hex();
        let answer = json!({"result_type": "pay_invoice", "result": {"preimage": preimage}});
        vec![Said::Forged(answer)]
    };
    check_unknown(pay_by(forged, not_found).await, "silent");
}

#[tokio::test]
async fn a_huge_answer_is_not_opened() {
    let huge = |_: &Preimage| vec![Said::Raw("A".repeat(200 * 1_024))];
    check_unknown(pay_by(huge, not_found).await, "too large");
}

#[tokio::test]
async fn an_answer_that_is_not_encrypted_to_us_is_unknown() {
    let plain = |_: &Preimage| vec![Said::Raw("AAAA".to_owned())];
    check_unknown(pay_by(plain, not_found).await, "cannot be decrypted");
}

#[tokio::test]
async fn of_two_answers_the_first_counts() {
    let stammer = |preimage: &Preimage| {
        let right = paid_with(&preimage.expose_hex());
        vec![right, error("pay_invoice", "PAYMENT_FAILED")]
    };
    let settled = |preimage: &Preimage| {
        let preimage = preimage.expose_hex();
        vec![result(
            "lookup_invoice",
            json!({"type": "outgoing", "state": "settled", "preimage": preimage}),
        )]
    };
    let (states, payments) = pay_by(stammer, settled).await;

    assert_eq!(payments, 1);
    for state in states {
        assert!(matches!(state, PaymentState::Succeeded { .. }), "{state:?}");
    }
}

#[tokio::test]
async fn a_final_no_has_failed_and_any_other_is_looked_up() {
    for code in [
        "QUOTA_EXCEEDED",
        "INSUFFICIENT_BALANCE",
        "PAYMENT_FAILED",
        "RESTRICTED",
    ] {
        let no = move |_: &Preimage| vec![error("pay_invoice", code)];
        let ([first, asked, _], payments) = pay_by(no, not_found).await;
        assert!(
            matches!(&first, PaymentState::Failed { reason } if reason.contains(code)),
            "{code}: {first:?}"
        );
        assert!(matches!(asked, PaymentState::Failed { .. }), "{asked:?}");
        assert_eq!(payments, 2, "what has failed may be tried again");
    }
    let doubtful = |_: &Preimage| vec![error("pay_invoice", "INTERNAL")];
    check_unknown(pay_by(doubtful, not_found).await, "INTERNAL");
    let open = |_: &Preimage| {
        let pending = json!({"type": "outgoing", "state": "pending"});
        vec![result("lookup_invoice", pending)]
    };
    let ([first, ..], payments) = pay_by(doubtful, open).await;
    assert!(matches!(first, PaymentState::Pending), "{first:?}");
    assert_eq!(payments, 1);
}

#[tokio::test]
async fn a_payment_that_the_wallet_never_heard_of_fails_long_after_its_invoice() {
    let market = Market::open();
    let relay = relay(&market).await;
    let invoice = market.invoice(100).await;
    let script: Script = Box::new(|method, _| match method {
        "pay_invoice" => Vec::new(),
        "lookup_invoice" => vec![error(method, "NOT_FOUND")],
        _ => vec![result(method, json!({"methods": []}))],
    });
    let wallet = ScriptedWallet::start(&relay.url, false, script).await;
    let node = node(&market, &wallet.uri()).await;
    let backend = node.backend(BACKEND);
    backend
        .pay(&invoice.bolt11, LIMIT, Duration::from_secs(1))
        .await;

    let before = backend.payment_state(&invoice.payment_hash).await;
    market.clock.advance(Duration::from_secs(3_600 + 1_201));
    let after = backend.payment_state(&invoice.payment_hash).await;

    assert!(matches!(before, PaymentState::Unknown { .. }), "{before:?}");
    assert!(matches!(after, PaymentState::Failed { .. }), "{after:?}");
}

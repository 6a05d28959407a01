//! Claims, releases and refunds on the real schema.

use feria_paywall::journal::StoredResponse;
use feria_paywall::l402::LimitUnit;
use feria_paywall::payment::PaymentHash;

use super::super::swaps::SwapStart;
use super::*;

const NOW: u64 = 1_000;

fn rules(call: u8) -> ClaimRules {
    ClaimRules {
        call_id: format!("{call:032x}"),
        lightning: "sim".to_owned(),
        vault_cap: Sat::new(250),
    }
}

fn claim(payment: Payment) -> Claim {
    Claim {
        service: "data".to_owned(),
        price: Sat::new(100).to_msat(),
        request: RequestKey {
            digest: [1; 32],
            idempotency_key: None,
            body_hash: None,
        },
        payment,
        now: NOW,
    }
}

fn token(text: &str, ys: &[u8]) -> PaidToken {
    PaidToken {
        text: text.to_owned(),
        mint: "https://mint.test".to_owned(),
        gross: Sat::new(101),
        net: Sat::new(100),
        ys: ys.iter().map(|y| [*y; 33]).collect(),
        refund_key: None,
        proofs: "[]".to_owned(),
        fee_ppk: 100,
        redeem_by: None,
    }
}

fn lightning(uses: u64) -> Claim {
    claim(Payment::L402 {
        payment_hash: PaymentHash::new([3; 32]),
        token_id: [4; 32],
        paid: Sat::new(100).to_msat(),
        cost: Msat::ZERO,
        limits: vec![Limit {
            key: [3; 32],
            unit: LimitUnit::Uses,
            max: uses,
        }],
    })
}

/// The same invoice, presented by the scheme `Payment`.
fn mpp() -> Claim {
    claim(Payment::Mpp {
        payment_hash: PaymentHash::new([3; 32]),
        token_id: [5; 32],
        paid: Sat::new(100).to_msat(),
        cost: Sat::new(100).to_msat(),
        limits: vec![Limit {
            key: [3; 32],
            unit: LimitUnit::Uses,
            max: 1,
        }],
    })
}

fn is_new(claimed: &Claimed) -> bool {
    matches!(claimed, Claimed::New { .. })
}

async fn msat(ledger: &Ledger, account: Account) -> i64 {
    assert!(ledger.audit().await.unwrap().is_clean());
    ledger.balance_msat(account).await.unwrap()
}

#[tokio::test]
async fn a_proof_pays_once_however_the_token_is_written() {
    let ledger = Ledger::in_memory().unwrap();
    let first = claim(Payment::Offline(token("one", &[1, 2])));
    let overlapping = claim(Payment::Offline(token("two", &[2, 3])));

    assert!(is_new(
        &ledger.claim_call(first.clone(), rules(1)).await.unwrap()
    ));

    let again = ledger.claim_call(first, rules(2)).await.unwrap();
    let other = ledger.claim_call(overlapping, rules(3)).await.unwrap();
    assert_eq!((again, other), (Claimed::InProgress, Claimed::AlreadySpent));
    assert_eq!(msat(&ledger, Account::income("data")).await, -101_000);
}

#[tokio::test]
async fn a_swapped_token_cannot_be_taken_offline_too() {
    let ledger = Ledger::in_memory().unwrap();
    let start = ledger.begin_swap(
        "data".into(),
        token("one", &[1]),
        Sat::new(100),
        format!("{:032x}", 1),
        NOW,
    );
    assert!(matches!(start.await.unwrap(), SwapStart::Swap(_)));

    let rewritten = claim(Payment::Offline(token("two", &[1])));
    let overlapping = claim(Payment::Offline(token("three", &[1, 2])));

    let claimed = ledger.claim_call(rewritten, rules(2)).await.unwrap();
    assert_eq!(claimed, Claimed::NeedsSwap);
    let claimed = ledger.claim_call(overlapping, rules(3)).await.unwrap();
    assert_eq!(claimed, Claimed::AlreadySpent);
}

#[tokio::test]
async fn more_than_the_cap_is_swapped_first() {
    let ledger = Ledger::in_memory().unwrap();
    for number in 1..3 {
        let held = claim(Payment::Offline(token(&number.to_string(), &[number])));
        assert!(is_new(
            &ledger.claim_call(held, rules(number)).await.unwrap()
        ));
    }

    let third = claim(Payment::Offline(token("3", &[3])));

    let claimed = ledger.claim_call(third, rules(3)).await.unwrap();
    assert_eq!(claimed, Claimed::NeedsSwap);
}

#[tokio::test]
async fn a_call_left_open_by_a_crash_is_the_payers_again() {
    let ledger = Ledger::in_memory().unwrap();
    let offline = claim(Payment::Offline(token("one", &[1])));
    ledger.claim_call(offline.clone(), rules(1)).await.unwrap();
    ledger.claim_call(lightning(1), rules(2)).await.unwrap();
    ledger
        .begin_swap(
            "data".into(),
            token("two", &[2]),
            Sat::new(100),
            format!("{:032x}", 3),
            NOW,
        )
        .await
        .unwrap();

    let found = ledger.resolve_open_calls(NOW).await.unwrap();

    assert_eq!((found.released, found.interrupted), (2, 1));
    assert_eq!(msat(&ledger, Account::owed("data")).await, -100_000);
    assert!(is_new(&ledger.claim_call(offline, rules(4)).await.unwrap()));
    assert!(is_new(
        &ledger.claim_call(lightning(1), rules(5)).await.unwrap()
    ));
    assert_eq!(msat(&ledger, Account::owed("data")).await, 0);
    let resumed = ledger
        .begin_swap(
            "data".into(),
            token("two", &[2]),
            Sat::new(100),
            format!("{:032x}", 6),
            NOW,
        )
        .await
        .unwrap();
    assert_eq!(resumed, SwapStart::Swap(format!("paid-{:032x}", 3)));
}

#[tokio::test]
async fn uses_are_counted_and_booked_once() {
    let ledger = Ledger::in_memory().unwrap();

    let first = ledger.claim_call(lightning(2), rules(1)).await.unwrap();
    let second = ledger.claim_call(lightning(2), rules(2)).await.unwrap();
    ledger
        .commit_call(CallId(rules(1).call_id), Delivered::default(), 0, NOW)
        .await
        .unwrap();
    ledger
        .commit_call(CallId(rules(2).call_id), Delivered::default(), 0, NOW)
        .await
        .unwrap();
    let third = ledger.claim_call(lightning(2), rules(3)).await.unwrap();

    assert!(matches!(
        first,
        Claimed::New {
            remaining: Remaining { uses: Some(1), .. },
            ..
        }
    ));
    assert!(matches!(
        second,
        Claimed::New {
            remaining: Remaining { uses: Some(0), .. },
            ..
        }
    ));
    assert_eq!(third, Claimed::UsedUp);
    assert_eq!(msat(&ledger, Account::lightning("sim")).await, 100_000);
}

#[tokio::test]
async fn a_credential_narrowed_to_no_use_buys_nothing() {
    let ledger = Ledger::in_memory().unwrap();

    assert_eq!(
        ledger.claim_call(lightning(0), rules(1)).await.unwrap(),
        Claimed::UsedUp
    );
}

#[tokio::test]
async fn a_revoked_credential_is_refused() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.revoke_credential([4; 32], NOW).await.unwrap();

    assert_eq!(
        ledger.claim_call(lightning(9), rules(1)).await.unwrap(),
        Claimed::Revoked
    );
}

#[tokio::test]
async fn ecash_that_its_mint_refused_pays_for_no_retry_and_no_refund() {
    let ledger = Ledger::in_memory().unwrap();
    let offline = claim(Payment::Offline(token("one", &[1])));
    ledger.claim_call(offline.clone(), rules(1)).await.unwrap();
    ledger
        .release_call(CallId(rules(1).call_id), NOW)
        .await
        .unwrap();
    let mint = "https://mint.test".to_owned();
    ledger
        .begin_redeem(mint, None, "redeem-1".into(), 10)
        .await
        .unwrap();
    let batch = ledger.list_redeeming().await.unwrap().remove(0);

    ledger
        .lose_redeem(batch, "spent".into(), NOW)
        .await
        .unwrap();

    let retried = ledger.claim_call(offline, rules(2)).await.unwrap();
    assert_eq!(retried, Claimed::AlreadySpent);
    assert!(
        ledger
            .begin_pay_out(rules(1).call_id, NOW)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(msat(&ledger, Account::owed("data")).await, 0);
    assert_eq!(msat(&ledger, Account::vault("https://mint.test")).await, 0);
}

#[tokio::test]
async fn a_repeat_under_the_same_key_takes_no_other_use() {
    let ledger = Ledger::in_memory().unwrap();
    let mut named = lightning(3);
    named.request.idempotency_key = Some("order-1".to_owned());
    assert!(is_new(
        &ledger.claim_call(named.clone(), rules(1)).await.unwrap()
    ));

    let running = ledger.claim_call(named.clone(), rules(2)).await.unwrap();
    let kept = StoredResponse {
        status: 200,
        headers: Vec::new(),
        body: bytes::Bytes::new(),
        request_body_hash: [0; 32],
    };
    let delivered = Delivered {
        response: Some(kept),
        cost: None,
    };
    ledger
        .commit_call(CallId(rules(1).call_id), delivered, NOW + 60, NOW)
        .await
        .unwrap();
    let answered = ledger.claim_call(named, rules(3)).await.unwrap();

    assert_eq!(running, Claimed::InProgress);
    assert_eq!(answered, Claimed::UsedUp);
    assert!(is_new(
        &ledger.claim_call(lightning(3), rules(4)).await.unwrap()
    ));
}

#[tokio::test]
async fn the_fee_of_a_refund_that_its_payer_bore_is_not_owed_any_more() {
    let ledger = Ledger::in_memory().unwrap();
    let offline = claim(Payment::Offline(token("one", &[1])));
    ledger.claim_call(offline.clone(), rules(1)).await.unwrap();
    let call = rules(1).call_id;
    ledger
        .release_call(CallId(call.clone()), NOW)
        .await
        .unwrap();
    ledger.begin_pay_out(call.clone(), NOW).await.unwrap();
    assert!(ledger.is_unredeemed(offline.payment.key()).await.unwrap());

    for _ in 0..2 {
        ledger
            .finish_pay_out(call.clone(), Sat::new(98), NOW)
            .await
            .unwrap();
    }

    // 98 of the 100 leave it when the wallet books the token.
    assert_eq!(msat(&ledger, Account::owed("data")).await, -98_000);
    assert_eq!(msat(&ledger, Account::fees("ecash")).await, -2_000);
}

#[tokio::test]
async fn one_invoice_counts_once_by_whichever_scheme() {
    let ledger = Ledger::in_memory().unwrap();

    let first = ledger.claim_call(mpp(), rules(1)).await.unwrap();
    let second = ledger.claim_call(lightning(1), rules(2)).await.unwrap();

    assert!(is_new(&first));
    assert_ne!(second, first);
    assert!(!is_new(&second));
    assert_eq!(msat(&ledger, Account::income("data")).await, -100_000);
}

#[tokio::test]
async fn a_released_mpp_call_can_be_made_again_and_owes_nothing() {
    let ledger = Ledger::in_memory().unwrap();
    let Claimed::New { call, .. } = ledger.claim_call(mpp(), rules(1)).await.unwrap() else {
        panic!("not claimed");
    };

    let owed = ledger.release_call(call.clone(), 10).await.unwrap();
    let again = ledger.claim_call(mpp(), rules(2)).await.unwrap();

    assert_eq!(owed, None);
    assert_eq!(
        ledger.begin_pay_out(call.0, 11).await.unwrap().map(|_| ()),
        None
    );
    assert!(is_new(&again));
    let key = mpp().payment.key();
    assert!(ledger.find_token_call(key).await.unwrap().is_none());
    assert_eq!(msat(&ledger, Account::income("data")).await, -100_000);
}

#[tokio::test]
async fn a_withdrawn_challenge_is_refused() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.revoke_credential([5; 32], 1).await.unwrap();

    let claimed = ledger.claim_call(mpp(), rules(1)).await.unwrap();

    assert_eq!(claimed, Claimed::Revoked);
}

#[tokio::test]
async fn ecash_that_was_written_off_while_its_call_ran_is_not_owed() {
    let ledger = Ledger::in_memory().unwrap();
    let offline = claim(Payment::Offline(token("one", &[1])));
    ledger.claim_call(offline.clone(), rules(1)).await.unwrap();
    let mint = "https://mint.test".to_owned();
    ledger
        .begin_redeem(mint, None, "redeem".to_owned(), 10)
        .await
        .unwrap();
    let batch = ledger.list_redeeming().await.unwrap().remove(0);
    ledger
        .lose_redeem(batch, "spent".to_owned(), NOW)
        .await
        .unwrap();

    let call = CallId(format!("{:032x}", 1));
    let handed_out = ledger.release_call(call.clone(), NOW).await.unwrap();

    assert_eq!(handed_out, None);
    assert_eq!(ledger.begin_pay_out(call.0, NOW).await.unwrap(), None);
    assert_eq!(msat(&ledger, Account::owed("data")).await, 0);
    let again = ledger.claim_call(offline, rules(2)).await.unwrap();
    assert_eq!(again, Claimed::AlreadySpent);
}

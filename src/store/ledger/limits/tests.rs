//! Nested limits, metered balances and the list of used credentials.

use feria_paywall::amount::Sat;
use feria_paywall::journal::{CallId, Claimed, Delivered, RequestKey};
use feria_paywall::payment::PaymentHash;

use super::super::paid_calls::ClaimRules;
use super::*;

const NOW: u64 = 1_000;
const PAYMENT: [u8; 32] = [3; 32];

fn limit(key: u8, unit: LimitUnit, max: u64) -> Limit {
    Limit {
        key: [key; 32],
        unit,
        max,
    }
}

fn bought(uses: u64) -> Limit {
    limit(PAYMENT[0], LimitUnit::Uses, uses)
}

/// Claims the call number `call`, which costs 40 msat.
async fn claim(ledger: &Ledger, call: u8, limits: &[Limit]) -> Claimed {
    let claim = Claim {
        service: "data".to_owned(),
        price: Msat::new(40),
        request: RequestKey {
            digest: [call; 32],
            idempotency_key: None,
            body_hash: None,
        },
        payment: Payment::L402 {
            payment_hash: PaymentHash::new(PAYMENT),
            token_id: [4; 32],
            paid: Msat::new(100),
            cost: Msat::new(40),
            limits: limits.to_vec(),
        },
        now: NOW + u64::from(call),
    };
    let rules = ClaimRules {
        call_id: format!("{call:032x}"),
        lightning: "sim".to_owned(),
        vault_cap: Sat::ZERO,
    };
    ledger.claim_call(claim, rules).await.unwrap()
}

#[track_caller]
fn left(claimed: &Claimed) -> (Option<u64>, Option<u64>) {
    let Claimed::New { remaining, .. } = claimed else {
        panic!("not claimed: {claimed:?}")
    };
    (remaining.uses, remaining.balance_msat)
}

fn id(call: u8) -> CallId {
    CallId(format!("{call:032x}"))
}

async fn commit(ledger: &Ledger, call: u8, cost: Option<u64>) {
    let delivered = Delivered {
        response: None,
        cost: cost.map(Msat::new),
    };
    ledger
        .commit_call(id(call), delivered, 0, NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_narrowed_copy_has_a_budget_of_its_own_within_the_whole() {
    let ledger = Ledger::in_memory().unwrap();
    let whole = [bought(4)];
    let narrowed = [bought(4), limit(8, LimitUnit::Uses, 2)];

    assert_eq!(left(&claim(&ledger, 1, &whole).await), (Some(3), None));
    assert_eq!(left(&claim(&ledger, 2, &narrowed).await), (Some(1), None));
    assert_eq!(left(&claim(&ledger, 3, &narrowed).await), (Some(0), None));
    assert_eq!(claim(&ledger, 4, &narrowed).await, Claimed::UsedUp);
    assert_eq!(left(&claim(&ledger, 5, &whole).await), (Some(0), None));
    assert_eq!(claim(&ledger, 6, &whole).await, Claimed::UsedUp);
}

#[tokio::test]
async fn a_refused_call_takes_of_no_limit() {
    let ledger = Ledger::in_memory().unwrap();
    let exhausted = [bought(2), limit(8, LimitUnit::Uses, 0)];

    assert_eq!(claim(&ledger, 1, &exhausted).await, Claimed::UsedUp);

    assert_eq!(
        left(&claim(&ledger, 2, &[bought(2)]).await),
        (Some(1), None)
    );
}

#[tokio::test]
async fn a_released_call_gives_back_to_every_limit() {
    let ledger = Ledger::in_memory().unwrap();
    let limits = [
        bought(2),
        limit(8, LimitUnit::Uses, 1),
        limit(9, LimitUnit::Msat, 50),
    ];
    assert_eq!(left(&claim(&ledger, 1, &limits).await), (Some(0), Some(10)));

    ledger.release_call(id(1), NOW).await.unwrap();

    assert_eq!(left(&claim(&ledger, 2, &limits).await), (Some(0), Some(10)));
    // A second release of the same call changes nothing.
    ledger.release_call(id(1), NOW).await.unwrap();
    assert_eq!(claim(&ledger, 3, &limits).await, Claimed::UsedUp);
}

#[tokio::test]
async fn a_metered_call_takes_its_price_and_keeps_its_cost() {
    let ledger = Ledger::in_memory().unwrap();
    let balance = [limit(PAYMENT[0], LimitUnit::Msat, 100)];

    assert_eq!(left(&claim(&ledger, 1, &balance).await), (None, Some(60)));
    assert_eq!(left(&claim(&ledger, 2, &balance).await), (None, Some(20)));
    assert_eq!(claim(&ledger, 3, &balance).await, Claimed::UsedUp);
    commit(&ledger, 1, Some(15)).await;
    commit(&ledger, 2, Some(1_000)).await;

    assert_eq!(left(&claim(&ledger, 4, &balance).await), (None, Some(5)));
}

#[tokio::test]
async fn a_crash_gives_back_what_open_calls_took() {
    let ledger = Ledger::in_memory().unwrap();
    let balance = [limit(PAYMENT[0], LimitUnit::Msat, 50)];
    claim(&ledger, 1, &balance).await;

    ledger.resolve_open_calls(NOW).await.unwrap();

    assert_eq!(left(&claim(&ledger, 2, &balance).await), (None, Some(10)));
}

#[tokio::test]
async fn used_credentials_are_listed_and_withdrawn() {
    let ledger = Ledger::in_memory().unwrap();
    let limits = [bought(5)];
    claim(&ledger, 1, &limits).await;
    claim(&ledger, 2, &limits).await;

    let first = ledger.revoke_credential([4; 32], NOW + 9).await.unwrap();
    let again = ledger.revoke_credential([4; 32], NOW + 10).await.unwrap();

    assert_eq!((first, again), (NOW + 9, NOW + 9));
    assert_eq!(claim(&ledger, 3, &limits).await, Claimed::Revoked);
    let listed = ledger.list_used_credentials(None, None, 10).await.unwrap();
    let expected = UsedCredential {
        token_id: [4; 32],
        payment_hash: PAYMENT,
        agent: "data".to_owned(),
        paid: Msat::new(100),
        unit: LimitUnit::Uses,
        bought: 5,
        used: 2,
        first_used_at: NOW + 1,
        revoked_at: Some(NOW + 9),
    };
    assert_eq!(listed, [expected]);
    let older = Some((NOW + 1, [4; 32]));
    let page = ledger.list_used_credentials(Some("data".into()), older, 10);
    assert_eq!(page.await.unwrap(), []);
}

//! Budgets, keys and uses under contention.

use feria_paywall::payment::Preimage;

use super::*;
use crate::store::ledger::credentials::NewCredential;
use crate::store::ledger::float::Wanted;
use crate::store::ledger::operations::{self, OperationRow, TokenOutRow};
use crate::store::ledger::{Account, Entry, EntryKind};

const NOW: u64 = 1_800_000_000;

fn intent(id: &str, price_sat: u64) -> NewIntent {
    NewIntent {
        id: id.to_owned(),
        wallet_id: "w".to_owned(),
        idempotency_key: id.to_owned(),
        method: "GET".to_owned(),
        origin: "http://seller".to_owned(),
        path: "/a/data".to_owned(),
        request_digest: [7; 32],
        seller: None,
        listing: None,
        price: Msat::new(price_sat * 1_000),
        fee_limit: Msat::ZERO,
        decision: "{}".to_owned(),
        created_at: NOW,
        subject: Subject {
            agent: "a".to_owned(),
            host: "seller".to_owned(),
            capability: None,
            rail: Some("cashu"),
        },
    }
}

/// Opens `new` if the wallet's `budget` covers it.
async fn open(ledger: &Ledger, new: NewIntent, budget: Budget) -> Result<Opening, StoreError> {
    let (asked, now) = (new.price.saturating_add(new.fee_limit), new.created_at);
    let judge = move |spending: &dyn judgement::Spending| {
        let mut checks = Vec::new();
        let windows = judgement::Windows::from(budget);
        windows.look(&judgement::Scope::Wallet, spending, asked, now, &mut checks)?;
        let broken = checks.iter().find(|check| !check.is_kept());
        Ok(Judgement {
            policy: None,
            verdict: broken.map_or(Verdict::Admitted, |_| Verdict::Refused),
            rule: broken.map(|check| check.rule.clone()).unwrap_or_default(),
            reason: String::new(),
            checks: checks.clone(),
            hold_secs: 0,
        })
    };
    ledger.open_intent(new, judge).await
}

fn total(sat: u64) -> Budget {
    Budget {
        total_msat: Some(sat * 1_000),
        ..Budget::default()
    }
}

fn to(state: IntentState) -> IntentChange {
    IntentChange {
        state: Some(state),
        ..IntentChange::default()
    }
}

fn credential(uses: Option<u32>) -> NewCredential {
    NewCredential {
        wallet_id: "w".to_owned(),
        origin: "http://seller".to_owned(),
        path: "/a/data".to_owned(),
        is_prefix: false,
        scheme: Default::default(),
        token: "token".to_owned().into(),
        preimage: Preimage::new([1; 32]),
        uses,
        expires_at: Some(NOW + 60),
    }
}

async fn bought(ledger: &Ledger, uses: Option<u32>) {
    let opened = open(ledger, intent("first", 10), total(100)).await;
    assert!(matches!(opened, Ok(Opening::Opened(_))));
    let change = IntentChange {
        credential: Some(credential(uses)),
        entry: Some(
            Entry::new(EntryKind::Pay, "first", NOW)
                .debit(Account::expense("w"), Msat::new(10_000))
                .credit(Account::lightning("ln"), Msat::new(10_000)),
        ),
        ..to(IntentState::Paid)
    };
    assert!(ledger.advance_intent("first", change, NOW).await.unwrap());
}

#[tokio::test]
async fn parallel_purchases_share_one_budget() {
    let ledger = Ledger::in_memory().unwrap();

    let opened = futures_util::future::join_all(
        (0..20).map(|n| open(&ledger, intent(&format!("i{n}"), 10), total(50))),
    )
    .await;

    let is_open =
        |opening: &&Result<Opening, StoreError>| matches!(opening, Ok(Opening::Opened(_)));
    assert_eq!(opened.iter().filter(is_open).count(), 5);
    let refused = ledger.list_intents(Some("w"), 100).await.unwrap();
    let refused = refused
        .iter()
        .filter(|intent| intent.state == IntentState::Refused)
        .count();
    assert_eq!(refused, 15);
}

#[tokio::test]
async fn a_failed_purchase_gives_its_budget_back() {
    let ledger = Ledger::in_memory().unwrap();
    open(&ledger, intent("a", 40), total(50)).await.unwrap();
    let change = IntentChange {
        counted: Some(Msat::ZERO),
        ..to(IntentState::Failed)
    };
    ledger.advance_intent("a", change, NOW).await.unwrap();

    let opened = open(&ledger, intent("b", 40), total(50)).await;

    assert!(matches!(opened, Ok(Opening::Opened(_))));
}

#[tokio::test]
async fn an_hour_has_its_own_budget() {
    let ledger = Ledger::in_memory().unwrap();
    let budget = Budget {
        hourly_msat: Some(50_000),
        ..Budget::default()
    };
    open(&ledger, intent("a", 40), budget).await.unwrap();

    let now = open(&ledger, intent("b", 40), budget).await.unwrap();
    let mut later = intent("c", 40);
    later.created_at = NOW + 3_601;
    let later = open(&ledger, later, budget).await.unwrap();

    assert!(matches!(now, Opening::Refused(judged) if judged.rule == "hourly of the wallet"));
    assert!(matches!(later, Opening::Opened(_)));
}

#[tokio::test]
async fn a_key_is_used_once() {
    let ledger = Ledger::in_memory().unwrap();
    open(&ledger, intent("a", 1), total(9)).await.unwrap();
    let mut again = intent("b", 1);
    again.idempotency_key = "a".to_owned();

    let opened = open(&ledger, again, total(9)).await.unwrap();

    assert!(matches!(opened, Opening::Existing(found) if found.id == "a"));
}

#[tokio::test]
async fn an_unknown_outcome_blocks_the_same_request() {
    let ledger = Ledger::in_memory().unwrap();
    open(&ledger, intent("a", 1), total(9)).await.unwrap();
    ledger
        .advance_intent("a", to(IntentState::Unknown), NOW)
        .await
        .unwrap();

    let same = open(&ledger, intent("b", 1), total(9)).await.unwrap();
    let mut other = intent("c", 1);
    other.request_digest = [8; 32];
    let other = open(&ledger, other, total(9)).await.unwrap();

    assert!(matches!(same, Opening::Blocked(found) if found.id == "a"));
    assert!(matches!(other, Opening::Opened(_)));
}

#[tokio::test]
async fn a_final_state_stays() {
    let ledger = Ledger::in_memory().unwrap();
    open(&ledger, intent("a", 1), total(9)).await.unwrap();
    ledger
        .advance_intent("a", to(IntentState::Delivered), NOW)
        .await
        .unwrap();

    let moved = ledger
        .advance_intent("a", to(IntentState::Failed), NOW)
        .await
        .unwrap();

    assert!(!moved);
}

#[tokio::test]
async fn the_last_use_goes_to_one_call() {
    let ledger = Ledger::in_memory().unwrap();
    bought(&ledger, Some(3)).await;

    let claimed = futures_util::future::join_all(
        (0..6).map(|n| ledger.claim_credential(intent(&format!("call{n}"), 0))),
    )
    .await;

    let claimed = claimed.iter().filter(|one| matches!(one, Ok(Some(_))));
    assert_eq!(claimed.count(), 2);
}

#[tokio::test]
async fn a_use_given_back_can_be_taken_again() {
    let ledger = Ledger::in_memory().unwrap();
    bought(&ledger, Some(1)).await;
    assert!(
        ledger
            .claim_credential(intent("x", 0))
            .await
            .unwrap()
            .is_none()
    );

    ledger.release_use("first").await.unwrap();
    ledger.release_use("first").await.unwrap();

    assert!(
        ledger
            .claim_credential(intent("y", 0))
            .await
            .unwrap()
            .is_some()
    );
    assert!(ledger.hold_use("first").await.unwrap().is_none());
}

#[tokio::test]
async fn a_payment_is_booked_once_however_often_it_is_found() {
    let ledger = Ledger::in_memory().unwrap();
    bought(&ledger, None).await;
    let again = IntentChange {
        credential: Some(credential(None)),
        entry: Some(
            Entry::new(EntryKind::Pay, "first", NOW)
                .debit(Account::expense("w"), Msat::new(10_000))
                .credit(Account::lightning("ln"), Msat::new(10_000)),
        ),
        ..to(IntentState::Paid)
    };

    ledger.advance_intent("first", again, NOW).await.unwrap();

    let spent = ledger.balance_msat(Account::expense("w")).await.unwrap();
    assert_eq!(spent, 10_000);
}

#[tokio::test]
async fn an_expired_credential_is_not_used() {
    let ledger = Ledger::in_memory().unwrap();
    bought(&ledger, Some(5)).await;
    let mut late = intent("late", 0);
    late.created_at = NOW + 61;

    assert!(ledger.claim_credential(late).await.unwrap().is_none());
}

/// A token of a float that is taken, as far as the ledger sees it.
async fn slip_taken_by(ledger: &Ledger, intent_id: &str) -> Wanted {
    let wanted = Wanted {
        wallet_id: "w".to_owned(),
        lock_key: "02".repeat(33),
        price_sat: 5,
        locktime: NOW + 3_600,
    };
    let slip = "float#0".to_owned();
    let (mint, slips) = ("http://mint".to_owned(), vec![slip.clone()]);
    let paying = to(IntentState::Paying);
    ledger
        .insert_slips(wanted.clone(), mint.clone(), slips, intent_id, paying, NOW)
        .await
        .unwrap();
    ledger
        .write("make a slip", move |transaction| {
            let operation = OperationRow {
                id: slip.clone(),
                kind: "swap".to_owned(),
                state: "planned".to_owned(),
                wallet_id: "w".to_owned(),
                mint: mint.clone(),
                plan: "{}".to_owned(),
                foreign_token: None,
                signatures: None,
                outcome: None,
            };
            operations::insert_planned(transaction, &operation, NOW)?;
            let token = TokenOutRow {
                wallet_id: "w".to_owned(),
                mint,
                amount_sat: 5,
                state: "in_flight".to_owned(),
            };
            operations::insert_token_out(transaction, &slip, &token)
        })
        .await
        .unwrap();
    wanted
}

#[tokio::test]
async fn a_token_goes_back_into_its_float_in_the_step_that_ends_its_purchase() {
    let ledger = Ledger::in_memory().unwrap();
    for id in ["a", "b"] {
        let new = NewIntent {
            request_digest: [id.as_bytes()[0]; 32],
            ..intent(id, 5)
        };
        open(&ledger, new, total(100)).await.unwrap();
    }
    let wanted = slip_taken_by(&ledger, "a").await;
    let failed = || to(IntentState::Failed);

    let by_another = ledger.free_slip("float#0", "b", failed(), NOW).await;
    let state = |intent: Option<Intent>| intent.unwrap().state;
    let untouched = state(ledger.find_intent("b").await.unwrap());
    let none = ledger.find_slip(wanted.clone()).await.unwrap();
    let by_its_own = ledger.free_slip("float#0", "a", failed(), NOW).await;
    let again = ledger.free_slip("float#0", "a", failed(), NOW).await;

    assert!(!by_another.unwrap() && untouched == IntentState::Planned);
    assert_eq!(none, None);
    assert!(by_its_own.unwrap() && !again.unwrap());
    assert_eq!(
        state(ledger.find_intent("a").await.unwrap()),
        IntentState::Failed
    );
    let free = ledger.find_slip(wanted).await.unwrap().unwrap();
    assert_eq!(free.operation_id, "float#0");
}

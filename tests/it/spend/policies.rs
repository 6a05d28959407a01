//! What a policy lets through, holds and refuses, and what it says about it.

use std::collections::BTreeMap;

use feria::config::PolicyConfig;
use feria::spend::{Answered, Verdict};

use super::*;

impl Market {
    /// Sets the policy of the agent `research`.
    fn policy(&self, text: &str) {
        let policy = PolicyConfig::parse(text, "policy").unwrap();
        let policies = BTreeMap::from([("research".to_owned(), policy)]);
        self.spender.set_policies(policies);
    }

    /// Buys once, and asserts that the rule `rule` refuses it and says why.
    async fn check_refused(&self, rule: &str, reason: &str) {
        let refused = self.spender.fetch(self.request()).await;
        let Err(SpendError::Refused { id, refusal }) = refused else {
            panic!("{rule}: {refused:?}");
        };
        assert!(refusal.to_string().contains(rule), "{refusal}");
        let why = self.spender.why(&id).await.unwrap().unwrap();
        assert!(why.contains(rule) && why.contains(reason), "{why}");
        let judgement = self.spender.judgement(&id).await.unwrap().unwrap();
        assert_eq!(judgement.rule, rule);
        assert_eq!(judgement.verdict, Verdict::Refused);
        assert_eq!(judgement.policy.as_deref(), Some("research"));
    }

    async fn kinds(&self) -> Vec<String> {
        let log = self.wallets.audit_log(&self.wallet_id).await.unwrap();
        assert!(log.ok, "{log:?}");
        log.entries.into_iter().map(|entry| entry.kind).collect()
    }
}

fn held(outcome: Result<feria::spend::Fetched, SpendError>) -> feria::spend::Approval {
    match outcome {
        Err(SpendError::Refused {
            refusal: Refusal::NeedsApproval(approval),
            ..
        }) => *approval,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_limit_refuses_with_its_figures() {
    for (policy, rule) in [
        ("per_call = \"9sat\"", "per-call"),
        ("hourly = \"9sat\"", "hourly"),
        ("daily = \"9sat\"", "daily"),
        ("total = \"9sat\"", "total"),
        (
            "[[only]]\nhost = \"127.0.0.1\"\nper_call = \"9sat\"",
            "per-call of host 127.0.0.1",
        ),
        (
            "[[only]]\nrail = \"cashu\"\ndaily = \"9sat\"",
            "daily of rail cashu",
        ),
    ] {
        let market = Market::open("nut24", 1_000).await;
        market.policy(policy);
        market.check_refused(rule, "is more than 9 sat").await;
        assert_eq!((market.payments(), market.balance().await), (0, 1_000));
        market.close().await;
    }
}

#[tokio::test]
async fn a_limit_of_something_else_does_not_count() {
    let market = Market::open("nut24", 1_000).await;
    market.policy(
        "[[only]]\nhost = \"other.example\"\ndaily = \"1sat\"\n\
         [[only]]\nrail = \"lightning\"\ndaily = \"1sat\"\n\
         [[only]]\ncapability = \"call\"\ndaily = \"1sat\"",
    );

    let fetched = market.spender.fetch(market.request()).await.unwrap();

    let decision = fetched.purchase.unwrap().decision;
    assert!(
        decision.contains("Let through by policy research"),
        "{decision}"
    );
    assert_eq!(market.payments(), 1);
    market.close().await;
}

#[tokio::test]
async fn names_that_are_not_let_through_are_refused() {
    for (policy, rule, reason) in [
        (
            "[hosts]\ndeny = [\"127.0.0.1\"]",
            "hosts.deny",
            "127.0.0.1 is denied",
        ),
        (
            "[hosts]\nallow = [\"api.example\"]",
            "hosts.allow",
            "not among those",
        ),
        (
            "[rails]\ndeny = [\"cashu\", \"lightning\"]",
            "rails.deny",
            "is denied",
        ),
        (
            "[sellers]\nallow = [\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]",
            "sellers.allow",
            "no signed listing names the seller",
        ),
        (
            "[capabilities]\nallow = [\"translate\"]",
            "capabilities.allow",
            "no signed listing",
        ),
    ] {
        let market = Market::open("nut24", 1_000).await;
        market.policy(policy);
        market.check_refused(rule, reason).await;
        assert_eq!(market.payments(), 0, "{policy}");
        assert!(market.kinds().await.contains(&"refused".to_owned()));
        market.close().await;
    }
}

#[tokio::test]
async fn a_host_that_is_denied_is_not_even_called() {
    let market = Market::open("free", 100).await;
    market.policy("[hosts]\ndeny = [\"127.0.0.1\"]");
    let calls = market.seller.challenges.load(Ordering::SeqCst);

    market.check_refused("hosts.deny", "denied").await;

    assert_eq!(market.seller.challenges.load(Ordering::SeqCst), calls);
    market.close().await;
}

#[tokio::test]
async fn a_rail_that_is_denied_is_not_chosen() {
    let market = Market::open("l402 nut24", 1_000).await;
    market.policy("[rails]\ndeny = [\"cashu\"]");

    let refused = market.spender.fetch(market.request()).await;
    market.policy("[rails]\nallow = [\"cashu\"]");
    let paid = market.spender.fetch(market.request()).await.unwrap();

    // The seller's mint is ours, so Lightning is closed: ecash was not looked at.
    assert!(
        matches!(
            &refused,
            Err(SpendError::Refused {
                refusal: Refusal::NoRail(_),
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(paid.purchase.unwrap().rail, "nut24-offline");
    market.close().await;
}

#[tokio::test]
async fn velocity_counts_calls_of_the_last_minute() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("calls_per_minute = 2");
    for _ in 0..2 {
        market.spender.fetch(market.request()).await.unwrap();
    }

    market.check_refused("calls-per-minute", "2 calls").await;
    market.clock.advance(Duration::from_secs(61));
    market.spender.fetch(market.request()).await.unwrap();

    assert_eq!(market.payments(), 3);
    market.close().await;
}

#[tokio::test]
async fn windows_slide_and_count_every_wallet_of_the_agent() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("hourly = \"15sat\"\ndaily = \"25sat\"");
    let other = market.another_wallet("research", 100).await;
    market.spender.fetch(market.request()).await.unwrap();

    let elsewhere = FetchRequest::get(&other, &market.url);
    let refused = market.spender.fetch(elsewhere.clone()).await;
    market.clock.advance(Duration::from_secs(3_601));
    market.spender.fetch(elsewhere).await.unwrap();
    market.clock.advance(Duration::from_secs(3_601));
    market.check_refused("daily", "on top of 20 sat").await;
    market.clock.advance(Duration::from_secs(24 * 3_600));
    market.spender.fetch(market.request()).await.unwrap();

    assert!(
        matches!(
            &refused,
            Err(SpendError::Refused { refusal: Refusal::OverBudget { window, .. }, .. }) if window == "hourly"
        ),
        "{refused:?}"
    );
    market.close().await;
}

#[tokio::test]
async fn a_failed_call_gives_its_share_of_the_policy_back() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("total = \"10sat\"");
    market.seller_is(Manner::Refuses);
    let plain = FetchRequest {
        lock: LockPolicy::Never,
        ..market.request()
    };
    let failed = market.spender.fetch(plain).await;
    assert!(matches!(failed, Err(SpendError::PaymentFailed { .. })));

    market.seller_is(Manner::Honest);
    market.spender.fetch(market.request()).await.unwrap();

    market.check_refused("total", "on top of 10 sat").await;
    market.close().await;
}

#[tokio::test]
async fn parallel_calls_never_exceed_a_policy() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("[[only]]\nhost = \"127.0.0.1\"\ndaily = \"50sat\"");

    let calls = (0..20).map(|_| market.spender.fetch(market.request()));
    let outcomes = futures_util::future::join_all(calls).await;

    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert_eq!(market.payments(), 5);
    market.close().await;
}

#[tokio::test]
async fn a_call_above_the_line_waits_for_a_person_and_then_goes_through() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("approve_above = \"9sat\"\ntotal = \"100sat\"");

    let first = held(market.spender.fetch(market.keyed("k")).await);
    let again = held(market.spender.fetch(market.keyed("k")).await);
    let waiting = market.spender.list_approvals(None, 9).await.unwrap();
    let why = market.spender.why(&first.id).await.unwrap().unwrap();
    let nothing_paid = market.payments();
    let approved = market.spender.approve(&first.id, "for once").await.unwrap();
    let fetched = market.spender.fetch(market.keyed("k")).await.unwrap();
    let repeated = market.spender.fetch(market.keyed("k")).await.unwrap();

    assert_eq!((&again.id, waiting.len()), (&first.id, 1));
    assert_eq!(
        (waiting[0].state.as_str(), waiting[0].price_msat),
        ("waiting", 10_000)
    );
    assert!(why.contains("approve-above"), "{why}");
    assert_eq!(nothing_paid, 0);
    assert!(matches!(approved, Answered::Done(_)));
    let purchase = fetched.purchase.unwrap();
    assert_eq!(
        (&purchase.id, purchase.outcome.as_str()),
        (&first.id, "delivered")
    );
    assert!(
        purchase.decision.contains("a person agreed"),
        "{purchase:?}"
    );
    assert_eq!(repeated.purchase.unwrap().id, first.id);
    assert_eq!(market.payments(), 1);
    // Another key is another call.
    held(market.spender.fetch(market.keyed("other")).await);
    let kinds = market.kinds().await;
    for kind in ["held", "approved", "paid"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind}: {kinds:?}");
    }
    market.close().await;
}

#[tokio::test]
async fn what_a_person_denied_is_refused_for_good() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("approve_above = \"9sat\"");
    let approval = held(market.spender.fetch(market.keyed("k")).await);

    let denied = market.spender.deny(&approval.id, "too dear").await.unwrap();
    let late = market.spender.approve(&approval.id, "").await.unwrap();
    let refused = market.spender.fetch(market.keyed("k")).await.unwrap_err();
    let why = market.spender.why(&approval.id).await.unwrap().unwrap();

    assert!(matches!(denied, Answered::Done(found) if found.state == "denied"));
    assert!(matches!(late, Answered::Before(found) if found.state == "denied"));
    assert!(
        matches!(
            refused,
            SpendError::Refused {
                refusal: Refusal::Recorded(_),
                ..
            }
        ),
        "{refused}"
    );
    assert!(why.contains("too dear"), "{why}");
    assert_eq!(market.payments(), 0);
    market.close().await;
}

#[tokio::test]
async fn decisions_count_once_and_in_time() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("approve_above = \"9sat\"\napproval_secs = 600");
    let approval = held(market.spender.fetch(market.keyed("k")).await);

    let missing = market.spender.approve("nothing", "").await.unwrap();
    market.clock.advance(Duration::from_secs(600));
    let late = market.spender.approve(&approval.id, "").await.unwrap();
    let deny_late = market.spender.deny(&approval.id, "").await.unwrap();
    // Asking again starts anew, under the same id.
    let renewed = held(market.spender.fetch(market.keyed("k")).await);
    let first = market.spender.approve(&approval.id, "").await.unwrap();
    let second = market.spender.approve(&approval.id, "").await.unwrap();
    let deny = market.spender.deny(&approval.id, "").await.unwrap();
    // The approval itself ends, too.
    market.clock.advance(Duration::from_secs(600));
    let again = held(market.spender.fetch(market.keyed("k")).await);

    assert_eq!(missing, Answered::Missing);
    assert!(matches!(late, Answered::Expired(_)), "{late:?}");
    assert!(matches!(deny_late, Answered::Expired(_)));
    assert_eq!(
        (renewed.id, renewed.state.as_str()),
        (approval.id, "waiting")
    );
    assert!(matches!(first, Answered::Done(_)));
    assert!(matches!(second, Answered::Before(_)));
    assert!(matches!(deny, Answered::Before(_)));
    assert_eq!(again.state, "waiting");
    assert_eq!(market.payments(), 0);
    market.close().await;
}

#[tokio::test]
async fn an_approval_covers_the_amount_and_request_that_was_shown_and_no_limit() {
    let market = Market::open("nut24", 1_000).await;
    market.policy("approve_above = \"9sat\"");
    let approval = held(market.spender.fetch(market.keyed("k")).await);
    market.spender.approve(&approval.id, "").await.unwrap();

    market.seller_is(Manner::Dear);
    let dearer = held(market.spender.fetch(market.keyed("k")).await);
    market.spender.approve(&approval.id, "").await.unwrap();
    let other = FetchRequest {
        url: format!("{}?other", market.url),
        ..market.keyed("k")
    };
    let other = held(market.spender.fetch(other).await);
    market.spender.approve(&approval.id, "").await.unwrap();
    market.policy("approve_above = \"9sat\"\ntotal = \"5sat\"");
    let limited = market.spender.fetch(market.keyed("k")).await;

    assert_eq!(
        (dearer.price_msat, dearer.state.as_str()),
        (20_000, "waiting")
    );
    assert_eq!(other.state, "waiting");
    assert!(
        matches!(
            &limited,
            Err(SpendError::Refused {
                refusal: Refusal::OverBudget { .. },
                ..
            })
        ),
        "{limited:?}"
    );
    assert_eq!(market.payments(), 0);
    market.close().await;
}

#[tokio::test]
async fn a_dry_run_says_what_the_policy_would() {
    let market = Market::open("nut24", 1_000).await;
    let dry = || FetchRequest {
        dry_run: true,
        ..market.request()
    };
    market.policy("approve_above = \"9sat\"");
    let held = market.spender.fetch(dry()).await.unwrap();
    market.policy("per_call = \"9sat\"");
    let refused = market.spender.fetch(dry()).await;

    let decision = held.purchase.unwrap().decision;
    assert!(
        decision.contains("Held by rule approve-above"),
        "{decision}"
    );
    assert!(
        matches!(&refused, Err(SpendError::Refused { id, .. }) if id.is_empty()),
        "{refused:?}"
    );
    assert!(
        market
            .spender
            .list_approvals(None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        market
            .spender
            .list_purchases(None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    market.close().await;
}

#[tokio::test]
async fn another_policy_is_tried_on_the_past() {
    let market = Market::open("nut24", 1_000).await;
    for _ in 0..5 {
        market.spender.fetch(market.request()).await.unwrap();
        market.clock.advance(Duration::from_secs(1_800));
    }
    let simulate = |text: &'static str| {
        let policy = PolicyConfig::parse(text, "policy").unwrap();
        async {
            market
                .spender
                .simulate(policy, Some("research"), 0)
                .await
                .unwrap()
        }
    };

    let hourly = simulate("hourly = \"10sat\"").await;
    let line = simulate("approve_above = \"9sat\"").await;
    let open = simulate("").await;
    let both = simulate("total = \"25sat\"\n[rails]\ndeny = [\"lightning\"]").await;
    let standing = market.spender.standing(&market.wallet_id).await.unwrap();

    // At 0, 30, 60, 90 and 120 minutes; what is refused leaves room for the next.
    assert_eq!((hourly.purchases, hourly.spent_msat), (5, 50_000));
    assert_eq!((hourly.refused, hourly.refused_msat), (3, 30_000));
    assert_eq!(hourly.by_rule["hourly"], 3);
    assert!(hourly.calls[0].reason.contains("on top of 10 sat"));
    assert_eq!((line.refused, line.held), (0, 5));
    assert_eq!((open.refused, open.held), (0, 0));
    assert_eq!((both.refused, both.by_rule["total"]), (3, 3));
    // The wallet's own limit, untouched by any simulation.
    assert_eq!(
        (standing.limits[0].limit, standing.limits[0].used),
        (1_000_000, 50_000)
    );
    assert_eq!(
        market.spender.list_purchases(None, 99).await.unwrap().len(),
        5
    );
    market.close().await;
}

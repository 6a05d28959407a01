//! Decisions that need neither a mint nor a seller.

use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::PaymentHash;
use feria_paywall::xcashu::request::CashuTerms;

use super::challenge::Asked;
use super::price::{Limits, Listed};
use super::router::{
    Candidate, Decision, Holding, ecash_candidates, ecash_fee, lock_for, melt_candidate,
    melt_exclusion, transfer_candidate,
};
use super::{LockPolicy, Rail, Refusal};
use crate::store::index::CatalogRow;
use crate::store::ledger::intents::Way;
use crate::wallet::MeltOffer;

const NOW: u64 = 1_800_000_000;
const MINT: &str = "https://mint.example";

fn holding(mint: &str, sat: u64, input_fee_ppk: u64) -> Holding {
    Holding {
        mint: mint.to_owned(),
        balance: Sat::new(sat),
        input_fee_ppk,
    }
}

fn offer(amount: u64, fee_reserve: u64) -> MeltOffer {
    MeltOffer {
        quote_id: "q".to_owned(),
        mint: MINT.to_owned(),
        amount: Sat::new(amount),
        fee_reserve: Sat::new(fee_reserve),
        input_fee: Sat::ZERO,
        payment_hash: PaymentHash::new([0; 32]),
        is_internal: false,
    }
}

fn terms(sat: u64) -> CashuTerms {
    CashuTerms {
        amount: Sat::new(sat),
        unit: "sat".to_owned(),
        mints: vec![MINT.to_owned()],
        lock_key: None,
        min_locktime_secs: None,
    }
}

fn row(coordinate: &str, price_sat: u64) -> CatalogRow {
    CatalogRow {
        coordinate: coordinate.to_owned(),
        event_id: String::new(),
        seller: "seller".to_owned(),
        dialect: "31402".to_owned(),
        name: String::new(),
        summary: String::new(),
        capability: String::new(),
        price_msat: Some(price_sat * 1_000),
        price_text: String::new(),
        topics: Vec::new(),
        endpoint: None,
        method: "GET".to_owned(),
        rails: vec!["nut24".to_owned()],
        mints: Vec::new(),
        published_at: NOW,
        expires_at: None,
        relays: Vec::new(),
        ..CatalogRow::default()
    }
}

fn limits(max_price_sat: u64, tolerance_percent: u32) -> Limits {
    Limits {
        max_price: Msat::new(max_price_sat * 1_000),
        max_fee: Msat::new(5_000),
        tolerance_percent,
    }
}

/// Candidates of a request for 100 sat at our mint.
fn ecash(holdings: &[Holding]) -> Vec<Candidate> {
    let terms = CashuTerms {
        mints: vec![format!("{MINT}/")],
        ..terms(100)
    };
    ecash_candidates(&terms, holdings, Msat::new(5_000))
}

#[test]
fn a_price_must_fit_cap_and_listing() {
    let admit = |limits: Limits, rows: Vec<CatalogRow>, sat: u64| {
        let mut asked = Asked {
            requests: vec![terms(sat)],
            ..Asked::default()
        };
        limits.admit(&mut asked, &Listed { rows })
    };

    assert_eq!(admit(limits(100, 0), vec![row("a", 21)], 21), Ok(()));
    assert_eq!(admit(limits(100, 10), vec![row("a", 20)], 22), Ok(()));
    assert_eq!(admit(limits(100, 0), vec![], 99), Ok(()));
    assert_eq!(
        admit(limits(100, 10), vec![row("a", 20)], 23),
        Err(Refusal::AboveListing {
            asked: Msat::new(23_000),
            listed: Msat::new(20_000),
            coordinate: "a".to_owned(),
        })
    );
    assert_eq!(
        admit(limits(20, 0), vec![row("a", 21)], 21),
        Err(Refusal::OverCap {
            asked: Msat::new(21_000),
            cap: Msat::new(20_000),
        })
    );
}

#[track_caller]
fn check_route(candidates: Vec<Candidate>, expected: Option<(Way, &str)>, why: &str) {
    let decision = Decision::new(candidates, Rail::Auto);
    let chosen = decision
        .open()
        .next()
        .map(|candidate| (candidate.way, candidate.place.as_str()));
    assert_eq!(chosen, expected);
    let said = format!("{} {}", decision.why, decision.exclusions().join("; "));
    assert!(said.contains(why), "{said}");
}

#[test]
fn ecash_comes_first_then_the_cheapest_lightning() {
    let price = Msat::new(100_000);
    let max_fee = Msat::new(5_000);
    let other = "https://other.example";
    let melt = |sat, fee| melt_candidate(&holding(other, sat, 0), offer(100, fee), price, max_fee);

    let mut both = ecash(&[holding(MINT, 200, 0)]);
    both.push(melt(200, 1));
    check_route(both, Some((Way::Ecash, MINT)), "ecash comes first");

    let mut poor = ecash(&[holding(MINT, 99, 0)]);
    poor.push(melt(200, 1));
    check_route(poor, Some((Way::Melt, other)), "holds 99 sat of 100 sat");

    check_route(ecash(&[holding(other, 200, 0)]), None, "No way to pay");
    check_route(vec![melt(200, 6)], None, "exceed");
    check_route(vec![melt(101, 2)], None, "holds 101 sat of 102 sat");
    let dear = melt_candidate(&holding(other, 900, 0), offer(101, 0), price, max_fee);
    check_route(vec![dear], None, "the mint asks 101 sat");
}

#[test]
fn ecash_is_moved_when_nothing_cheaper_is_open() {
    let max_fee = Msat::new(5_000);
    let other = holding("https://other.example", 200, 0);
    let moved = |needed: u64, fee: u64| {
        transfer_candidate(
            &other,
            MINT,
            &terms(100),
            Sat::new(needed),
            offer(needed, fee),
            max_fee,
        )
    };
    let melt = |fee| melt_candidate(&other, offer(100, fee), Msat::new(100_000), max_fee);

    check_route(
        vec![moved(100, 1)],
        Some((Way::Ecash, MINT)),
        "moved there from https://other",
    );
    check_route(
        vec![moved(101, 1), melt(1)],
        Some((Way::Melt, "https://other.example")),
        "no shared mint",
    );
    check_route(vec![moved(101, 5)], None, "exceed");
    let mut both = ecash(&[holding(MINT, 200, 0)]);
    both.push(moved(100, 0));
    check_route(both, Some((Way::Ecash, MINT)), "ecash comes first");
}

#[test]
fn at_one_cost_the_quicker_way_comes_first() {
    let at = |place: &str, latency_ms| Candidate {
        fee_msat: Some(1_000),
        latency_ms,
        ..Candidate::at(Way::Melt, place, Msat::new(100_000))
    };

    check_route(
        vec![
            at("untried", None),
            at("slow", Some(900)),
            at("quick", Some(20)),
        ],
        Some((Way::Melt, "quick")),
        "",
    );
}

#[test]
fn a_decision_fits_the_journal_whatever_it_holds() {
    let many = (0..200).map(|n| {
        Candidate::closed(
            Way::Melt,
            &format!("https://{n}.example"),
            Msat::new(1),
            "x".repeat(100),
        )
    });
    let mut candidates: Vec<Candidate> = many.collect();
    candidates.push(Candidate::at(Way::Melt, MINT, Msat::new(1)));

    let json = Decision::new(candidates, Rail::Auto).to_json();

    assert!(json.len() <= 8_192);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(read["why"].as_str().unwrap().contains(MINT));
}

#[test]
fn a_mint_never_pays_itself_over_lightning() {
    let price = Msat::new(100_000);
    let own = melt_exclusion(&holding(MINT, 200, 0), price, &[MINT.to_owned()]);
    let other = melt_exclusion(&holding(MINT, 200, 0), price, &[]);

    let internal = MeltOffer {
        is_internal: true,
        ..offer(100, 0)
    };
    let inside = melt_candidate(&holding(MINT, 200, 0), internal, price, Msat::new(9_000));

    assert!(own.is_some_and(|reason| reason.contains("no preimage")));
    assert!(
        inside
            .excluded
            .is_some_and(|reason| reason.contains("no preimage"))
    );
    assert_eq!(other, None);
}

#[test]
fn a_lock_outlives_the_sellers_minimum() {
    let lock = |policy, key, min| lock_for(policy, key, min, NOW).map(|lock| lock.locktime);

    assert_eq!(
        lock(LockPolicy::Auto, Some("k"), Some(1_000)),
        Some(NOW + 1_600)
    );
    assert_eq!(lock(LockPolicy::Auto, Some("k"), None), Some(NOW + 3_600));
    assert_eq!(lock(LockPolicy::Auto, None, Some(1_000)), None);
    assert_eq!(lock(LockPolicy::Never, Some("k"), Some(1_000)), None);
    assert_eq!(lock(LockPolicy::Auto, Some("k"), Some(u64::MAX)), None);
}

#[test]
fn fees_of_ecash_are_estimated_high() {
    assert_eq!(ecash_fee(Sat::new(500), 0), Sat::ZERO);
    assert_eq!(ecash_fee(Sat::new(500), 100), Sat::new(3));
}

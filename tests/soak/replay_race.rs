//! Many requests with one payment at the same moment: one delivery, and for
//! everybody else the same answer, "in progress" or "already spent".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use feria::config::GatewayConfig;
use feria::store::ledger::Account;
use feria_paywall::amount::Sat;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::shop::{Setup, Shop, l402, paid};
use super::stall::{Caller, Seen, serve};

/// Requests at the same moment.
const RACERS: usize = 64;
/// Rounds between two redeems of what was accepted offline.
const REDEEM_EVERY: usize = 20;

/// What one payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A credential of one use.
    Credential,
    /// A token that is taken without its mint.
    Locked,
    /// A token that is swapped first.
    Plain,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Credential, Self::Locked, Self::Plain];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Credential => "l402",
            Self::Locked => "nut24-offline",
            Self::Plain => "nut24-swap",
        }
    }

    /// What one who comes too late may be told, beside the kept response.
    const fn too_late(self) -> &'static [&'static str] {
        match self {
            Self::Credential => &["409 call_in_progress", "402 credential_used_up"],
            Self::Locked | Self::Plain => &["409 call_in_progress", "400 token_already_spent"],
        }
    }
}

/// Races `rounds` payments of `kind`. Half of the racers send the same request, the
/// others each one of their own.
pub(super) async fn race(kind: Kind, rounds: usize) -> Value {
    let rails: &[&str] = match kind {
        Kind::Credential => &["l402"],
        Kind::Locked | Kind::Plain => &["nut24"],
    };
    let setup = Setup {
        config: GatewayConfig {
            challenges_per_minute: 0,
            vault_cap: Sat::new(1_000_000),
            ..GatewayConfig::default()
        },
        ..Setup::new(1, rails)
    };
    let shop = Shop::set_up(setup, std::future::ready).await;
    let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
    let caller = Arc::new(Caller::of(url));
    let started = std::time::Instant::now();
    let mut answers: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..rounds {
        let payment = match kind {
            Kind::Credential => l402(&shop.buy().await),
            Kind::Locked => paid(&shop.token_of_purse(100, true).await),
            Kind::Plain => paid(&shop.token_of_purse(101, false).await),
        };
        let before = shop.upstream.calls.load(Ordering::SeqCst);
        let seen = race_once(&caller, &payment, round).await;
        let delivered = shop.upstream.calls.load(Ordering::SeqCst) - before;
        assert_eq!(delivered, 1, "{} round {round}: {seen:?}", kind.name());
        check_round(kind, &caller, &payment, &seen).await;
        for one in &seen {
            *answers.entry(verdict(one)).or_default() += 1;
        }
        if kind == Kind::Locked && round % REDEEM_EVERY == 0 {
            shop.gateway.redeem_all().await.unwrap();
        }
    }
    shop.gateway.redeem_all().await.unwrap();
    shop.check_books().await;
    assert_eq!(shop.booked(Account::owed("data")).await, 0);
    let calls = shop.upstream.calls.load(Ordering::SeqCst);
    assert_eq!(calls, rounds as u64);
    json!({
        "kind": kind.name(),
        "rounds": rounds,
        "requests": rounds * RACERS,
        "answers": answers,
        "upstream_calls": calls,
        "secs": started.elapsed().as_secs(),
    })
}

async fn race_once(
    caller: &Arc<Caller>,
    payment: &(&'static str, String),
    round: usize,
) -> Vec<Seen> {
    let racers = (0..RACERS).map(|racer| {
        let (caller, payment) = (Arc::clone(caller), [payment.clone()]);
        let body = match racer % 2 {
            0 => format!("{round}"),
            _ => format!("{round} {racer}"),
        };
        tokio::spawn(async move { caller.call(&payment, &body).await.unwrap() })
    });
    let ended = join_all(racers).await;
    ended.into_iter().map(Result::unwrap).collect()
}

/// One answer was bought; it is there again for whoever asks the same.
async fn check_round(kind: Kind, caller: &Caller, payment: &(&'static str, String), seen: &[Seen]) {
    let bought = seen.iter().find(|one| one.status == 200);
    let bought = bought.expect("somebody is served");
    for one in seen {
        let verdict = verdict(one);
        let is_fine = match one.status {
            200 => one.body == bought.body,
            _ => kind.too_late().contains(&verdict.as_str()),
        };
        assert!(is_fine, "{verdict}: {}", one.body);
    }
    let question = bought.body.split_once(" to ").unwrap().1;
    let again = caller
        .call(std::slice::from_ref(payment), question)
        .await
        .unwrap();
    assert_eq!((again.status, &again.body), (200, &bought.body));
}

fn verdict(seen: &Seen) -> String {
    match seen.status {
        200 => "200".to_owned(),
        status => format!("{status} {}", seen.code()),
    }
}

//! The upstream breaks after the payment.

use std::time::Duration;

use axum::Router;
use feria::store::ledger::Account;
use serde_json::{Value, json};

use super::super::rough_upstream::{Rough, RoughUpstream};
use super::super::shop::{Setup, Shop, l402, paid};
use super::super::stall::{Caller, serve};
use super::{DELIVERED, Told, as_time_runs_out, check_sound, told};

/// What one fault means to those who paid with a credential or a token taken
/// offline (`kept`: it pays for the retry), and with a swapped token (`gone`: it
/// comes back as another).
struct Row {
    fault: Rough,
    kept: Told,
    gone: Told,
    reaches_upstream: bool,
}

const FAILED: Told = told(502, "upstream_failed", "held");
const REFUNDED: Told = told(502, "upstream_failed", "none").with_token();

const fn failed(fault: Rough) -> Row {
    Row {
        fault,
        kept: FAILED,
        gone: REFUNDED,
        reaches_upstream: true,
    }
}

const ROWS: &[Row] = &[
    failed(Rough::Fails),
    Row {
        kept: told(504, "upstream_timeout", "held"),
        gone: told(504, "upstream_timeout", "none").with_token(),
        ..failed(Rough::Silent)
    },
    Row {
        kept: told(502, "upstream_unreachable", "held"),
        gone: told(502, "upstream_unreachable", "none").with_token(),
        reaches_upstream: false,
        ..failed(Rough::Refuses)
    },
    failed(Rough::CutBeforeHead),
    failed(Rough::CutShort),
];

/// Faults after the head of an answer that is not held back: the call counts as
/// delivered, whatever comes of the rest.
const STREAMS: &[Rough] = &[Rough::CutLong, Rough::CutStream, Rough::Stalls];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rail {
    L402,
    Offline,
    Swap,
}

const RAILS: [Rail; 3] = [Rail::L402, Rail::Offline, Rail::Swap];

struct World {
    shop: Shop,
    upstream: RoughUpstream,
    caller: Caller,
}

impl World {
    async fn open() -> Self {
        let upstream = RoughUpstream::start().await;
        let mut setup = Setup::new(1, &["l402", "nut24"]);
        setup.upstream = Some(upstream.url.clone());
        setup.config.challenges_per_minute = 0;
        setup.config.pause_timeout_secs = 1;
        let shop = Shop::set_up(setup, std::future::ready).await;
        let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
        Self {
            shop,
            upstream,
            caller: Caller::of(url),
        }
    }

    /// Returns the header, and the token if it is one.
    async fn pay(&self, rail: Rail) -> ((&'static str, String), Option<String>) {
        let is_locked = match rail {
            Rail::L402 => return (l402(&self.shop.buy().await), None),
            Rail::Offline => true,
            Rail::Swap => false,
        };
        let sat = if is_locked { 100 } else { 101 };
        let token = self.shop.token_of_purse(sat, is_locked).await;
        (paid(&token), Some(token))
    }
}

pub(super) async fn run() -> Vec<Value> {
    let world = World::open().await;
    let mut rows = Vec::new();
    for row in ROWS {
        for rail in RAILS {
            rows.push(check_row(&world, row, rail).await);
        }
    }
    for fault in STREAMS {
        for rail in RAILS {
            rows.push(check_stream(&world, *fault, rail).await);
        }
    }
    rows
}

async fn check_row(world: &World, row: &Row, rail: Rail) -> Value {
    let World {
        shop,
        upstream,
        caller,
    } = world;
    let what = format!("{:?} {rail:?}", row.fault);
    let (header, token) = world.pay(rail).await;
    let headers = [header];
    let before = upstream.calls();
    upstream.set(row.fault).await;

    let call = caller.call(&headers, "x");
    let held = async || upstream.reached().await;
    let seen = as_time_runs_out(call, held, Duration::from_secs(2)).await;
    let seen = seen.unwrap();

    let expected = if rail == Rail::Swap {
        row.gone
    } else {
        row.kept
    };
    expected.check(&what, &seen);
    let reached = upstream.calls() - before;
    assert_eq!(reached, u64::from(row.reaches_upstream), "{what}");
    shop.check_books().await;
    upstream.set(Rough::Works).await;
    let again = caller.call(&headers, "x").await.unwrap();
    if rail == Rail::Swap {
        told(400, "token_already_spent", "spent").check(&what, &again);
        let asked = caller.refund(&token.unwrap()).await.unwrap();
        let refund = seen.header("x-cashu").unwrap();
        assert_eq!(asked.json()["token"], refund, "{what}");
        assert!(shop.buyer_receives(refund).await >= 99, "{what}");
    } else {
        DELIVERED.check(&what, &again);
        assert_eq!(shop.booked(Account::owed("data")).await, 0, "{what}");
    }
    check_sound(shop, caller).await;
    json!({"fault": what, "status": seen.status, "code": seen.code(), "money": seen.money(),
           "upstream_calls": reached, "repeat": again.status})
}

/// Half a stream: what came is the payer's, and it is paid for.
async fn check_stream(world: &World, fault: Rough, rail: Rail) -> Value {
    let World {
        shop,
        upstream,
        caller,
    } = world;
    let what = format!("{fault:?} {rail:?}");
    let (header, token) = world.pay(rail).await;
    let headers = [header];
    upstream.set(fault).await;

    let call = caller.call(&headers, "x");
    let held = async || upstream.reached().await;
    let seen = as_time_runs_out(call, held, Duration::from_secs(2)).await;

    assert!(seen.is_err(), "{what}: {seen:?}");
    upstream.set(Rough::Works).await;
    let again = caller.call(&headers, "x").await.unwrap();
    let expected = match rail {
        Rail::L402 => told(402, "credential_used_up", "none"),
        Rail::Offline | Rail::Swap => told(400, "token_already_spent", "spent"),
    };
    expected.check(&what, &again);
    if let Some(token) = token {
        assert_eq!(caller.refund(&token).await.unwrap().status, 410, "{what}");
    }
    check_sound(shop, caller).await;
    json!({"fault": what, "status": 200, "code": "", "money": "spent", "body": "broken off",
           "repeat": again.status})
}

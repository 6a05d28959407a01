//! The mint is down, slow, or lies.

use std::time::Duration;

use axum::Router;
use feria::store::ledger::Account;
use feria_paywall::xcashu::token::parse;
use serde_json::{Value, json};

use super::super::mint_front::{Front, Lie, Rule};
use super::super::shop::{Mode, Setup, Shop, paid};
use super::super::stall::{Caller, Seen, serve};
use super::{DELIVERED, Told, as_time_runs_out, check_sound, told};

const SWAP: &str = "/v1/swap";
const STATE: &str = "/v1/checkstate";
const RESTORE: &str = "/v1/restore";
const ANY: &str = "/v1/";

const UNREACHABLE: Told = told(503, "mint_unreachable", "none");
const UNKNOWN: Told = told(503, "mint_outcome_unknown", "unknown");
const SPENT: Told = told(400, "token_already_spent", "spent");

/// Something the mint does to a token that is swapped before the call.
struct Row {
    name: &'static str,
    rules: &'static [Rule],
    told: Told,
}

const fn rule(path: &'static str, lie: Lie) -> Rule {
    Rule {
        path,
        honest: 0,
        lie,
    }
}

const ROWS: &[Row] = &[
    Row {
        name: "breaks off before the swap, then answers",
        rules: &[rule(SWAP, Lie::Drop)],
        told: UNKNOWN,
    },
    Row {
        name: "takes the token and breaks off, then tells",
        rules: &[rule(SWAP, Lie::DropAfter)],
        told: DELIVERED,
    },
    Row {
        name: "takes the token and breaks off, and tells nothing",
        rules: &[rule(SWAP, Lie::DropAfter), rule(STATE, Lie::Drop)],
        told: UNKNOWN,
    },
    Row {
        name: "takes the token and falls silent",
        rules: &[rule(ANY, Lie::HoldAfter)],
        told: UNKNOWN,
    },
    Row {
        name: "takes the token and answers 500",
        rules: &[rule(SWAP, Lie::SayAfter(500, ""))],
        told: DELIVERED,
    },
    Row {
        name: "takes the token and answers with an error of its own",
        rules: &[rule(
            SWAP,
            Lie::SayAfter(400, r#"{"code":50000,"detail":"oops"}"#),
        )],
        told: DELIVERED,
    },
    Row {
        name: "takes the token and answers garbage",
        rules: &[rule(SWAP, Lie::SayAfter(200, "<html>]]>"))],
        told: DELIVERED,
    },
    Row {
        name: "takes the token and answers 32 MB of nothing",
        rules: &[rule(SWAP, Lie::HugeAfter(32_000_000))],
        told: DELIVERED,
    },
    Row {
        name: "says that the token is pending",
        rules: &[rule(
            SWAP,
            Lie::Say(400, r#"{"code":11002,"detail":"pending"}"#),
        )],
        told: UNKNOWN,
    },
    Row {
        name: "breaks off and says that the token is pending",
        rules: &[
            rule(SWAP, Lie::DropAfter),
            rule(
                STATE,
                Lie::Rewrite(|states| {
                    each(states, "states", |state| {
                        state["state"] = "PENDING".into();
                    })
                }),
            ),
        ],
        told: UNKNOWN,
    },
    Row {
        name: "says that the token is spent, and has not touched it",
        rules: &[rule(
            SWAP,
            Lie::Say(400, r#"{"code":11001,"detail":"spent"}"#),
        )],
        told: SPENT,
    },
    Row {
        name: "refuses with an error of its own",
        rules: &[rule(SWAP, Lie::Say(400, r#"{"code":50000,"detail":"no"}"#))],
        told: told(400, "token_refused", "none"),
    },
    Row {
        name: "refuses by the rules",
        rules: &[rule(
            SWAP,
            Lie::Say(400, r#"{"code":11005,"detail":"unbalanced"}"#),
        )],
        told: told(400, "token_refused", "none"),
    },
    Row {
        name: "lets something before it refuse",
        rules: &[rule(SWAP, Lie::Say(403, "<h1>Forbidden</h1>"))],
        told: UNREACHABLE,
    },
    Row {
        name: "signs without a proof",
        rules: &[rule(
            SWAP,
            Lie::Rewrite(|answer| {
                each(answer, "signatures", |signature| {
                    signature.as_object_mut().unwrap().remove("dleq");
                })
            }),
        )],
        told: UNKNOWN,
    },
    Row {
        name: "signs with a false proof",
        rules: &[rule(
            SWAP,
            Lie::Rewrite(|answer| {
                each(answer, "signatures", |signature| {
                    signature["dleq"]["s"] = "11".repeat(32).into();
                })
            }),
        )],
        told: UNKNOWN,
    },
    Row {
        name: "signs other amounts",
        rules: &[rule(
            SWAP,
            Lie::Rewrite(|answer| {
                each(answer, "signatures", |signature| {
                    signature["amount"] = 1.into();
                })
            }),
        )],
        told: UNKNOWN,
    },
    Row {
        name: "signs one output less",
        rules: &[rule(
            SWAP,
            Lie::Rewrite(|answer| {
                answer["signatures"].as_array_mut().unwrap().pop();
            }),
        )],
        told: UNKNOWN,
    },
    Row {
        name: "breaks off and restores one output less",
        rules: &[
            rule(SWAP, Lie::DropAfter),
            rule(
                RESTORE,
                Lie::Rewrite(|answer| {
                    answer["signatures"].as_array_mut().unwrap().pop();
                    answer["outputs"].as_array_mut().unwrap().pop();
                }),
            ),
        ],
        told: UNKNOWN,
    },
];

fn each(document: &mut Value, list: &str, change: impl Fn(&mut Value)) {
    for one in document[list].as_array_mut().unwrap() {
        change(one);
    }
}

struct World {
    shop: Shop,
    front: Front,
    caller: Caller,
}

impl World {
    async fn open() -> Self {
        let mut setup = Setup::new(1, &["nut24"]);
        setup.config.challenges_per_minute = 0;
        let mut front = None;
        let shop = Shop::set_up(setup, async |url| {
            front.insert(Front::before(&url).await).url.clone()
        })
        .await;
        let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
        Self {
            shop,
            front: front.unwrap(),
            caller: Caller::of(url),
        }
    }

    async fn call(&self, token: &str) -> Seen {
        let headers = [paid(token)];
        let call = self.caller.call(&headers, "x");
        let held = async || self.front.reached().await;
        let seen = as_time_runs_out(call, held, Duration::from_secs(11)).await;
        seen.unwrap()
    }

    fn calls(&self) -> u64 {
        self.shop
            .upstream
            .calls
            .load(std::sync::atomic::Ordering::SeqCst)
    }
}

pub(super) async fn run() -> Vec<Value> {
    let world = World::open().await;
    let mut rows = Vec::new();
    for row in ROWS {
        rows.push(check_row(&world, row).await);
    }
    rows.push(check_down(&world).await);
    rows.push(check_refund(&world).await);
    rows.push(check_change(&world).await);
    for (name, rules) in [
        ("falls over", rule(SWAP, Lie::Drop)),
        ("answers 500", rule(SWAP, Lie::Say(500, ""))),
        (
            "answers with an error of its own",
            rule(
                SWAP,
                Lie::Say(500, r#"{"code":50000,"detail":"database is locked"}"#),
            ),
        ),
        ("wants fewer requests", rule(SWAP, Lie::Say(429, ""))),
    ] {
        rows.push(check_redeem(&world, name, &[rules]).await);
    }
    rows
}

/// Whatever the mint did, the same token is served once it is honest again, once.
async fn check_row(world: &World, row: &Row) -> Value {
    let token = world.shop.token_of_purse(101, false).await;
    let before = world.calls();
    world.front.lie(row.rules);

    let seen = world.call(&token).await;

    row.told.check(row.name, &seen);
    let served = u64::from(seen.status == 200);
    assert_eq!(world.calls() - before, served, "{}", row.name);
    if seen.status == 503 {
        assert!(seen.header("retry-after").is_some(), "{}", row.name);
    }
    world.front.lie(&[]);
    let again = world.call(&token).await;
    DELIVERED.check(row.name, &again);
    assert_eq!(world.calls() - before, 1, "{}", row.name);
    let refund = world.caller.refund(&token).await.unwrap();
    assert_eq!(refund.status, 410, "{}", row.name);
    check_sound(&world.shop, &world.caller).await;
    json!({"fault": format!("mint {}", row.name), "status": seen.status, "code": seen.code(),
           "money": seen.money(), "repeat": again.status})
}

/// A mint that cannot be reached costs nobody anything; locked ecash is served all the same.
async fn check_down(world: &World) -> Value {
    let plain = world.shop.token_of_purse(101, false).await;
    let locked = world.shop.token_of_purse(100, true).await;
    world.front.close().await;

    let seen = world.call(&plain).await;
    let offline = world.call(&locked).await;

    UNREACHABLE.check("down", &seen);
    DELIVERED.check("down, locked", &offline);
    let waiting = world.shop.gateway.redeem_all().await.unwrap();
    assert!(
        waiting.waiting_sat >= 100 && waiting.lost_sat == 0,
        "{waiting:?}"
    );
    world.front.open().await;
    let again = world.call(&plain).await;
    DELIVERED.check("down, mended", &again);
    check_sound(&world.shop, &world.caller).await;
    json!({"fault": "mint down", "status": seen.status, "code": seen.code(),
           "money": seen.money(), "repeat": again.status})
}

/// The upstream fails, and the mint with it: the refund stays owed until it can be made.
async fn check_refund(world: &World) -> Value {
    let token = world.shop.token_of_purse(101, false).await;
    world.shop.upstream.set(Mode::Fail);
    world.front.lie(&[Rule {
        honest: 1,
        ..rule(SWAP, Lie::Drop)
    }]);

    let seen = world.call(&token).await;
    let early = world.caller.refund(&token).await.unwrap();

    told(502, "upstream_failed", "held").check("no refund yet", &seen);
    assert_eq!(early.status, 503, "{}", early.body);
    world.shop.upstream.set(Mode::Work);
    world.front.lie(&[]);
    let again = world.caller.refund(&token).await.unwrap();
    let refund = again.json()["token"].as_str().unwrap().to_owned();
    assert!(world.shop.buyer_receives(&refund).await >= 98);
    SPENT.check("refunded", &world.call(&token).await);
    assert_eq!(world.shop.booked(Account::owed("data")).await, 0);
    check_sound(&world.shop, &world.caller).await;
    json!({"fault": "mint breaks off before the refund", "status": seen.status,
           "code": seen.code(), "money": seen.money(), "repeat": again.status})
}

/// The answer is there, and the mint is not: the change is owed until it can be made.
async fn check_change(world: &World) -> Value {
    let token = world.shop.token_of_purse(160, false).await;
    world.front.lie(&[Rule {
        honest: 1,
        ..rule(ANY, Lie::HoldAfter)
    }]);

    let seen = world.call(&token).await;

    DELIVERED.check("no change yet", &seen);
    world.front.lie(&[]);
    let again = world.call(&token).await;
    DELIVERED.with_token().check("change", &again);
    assert_eq!(again.body, seen.body);
    let change = again.header("x-cashu").unwrap();
    let asked = world.caller.refund(&token).await.unwrap();
    assert_eq!(asked.json()["token"], change);
    assert_eq!(parse(change, 65_536).unwrap().amount.as_u64(), 59);
    assert!(world.shop.buyer_receives(change).await >= 58);
    assert_eq!(world.shop.booked(Account::owed("data")).await, 0);
    check_sound(&world.shop, &world.caller).await;
    json!({"fault": "mint silent before the change", "status": seen.status,
           "code": seen.code(), "money": "owed", "repeat": again.status})
}

/// Ecash that was accepted offline is not given up because its mint has a bad day.
async fn check_redeem(world: &World, name: &str, rules: &[Rule]) -> Value {
    let token = world.shop.token_of_purse(100, true).await;
    let seen = world.call(&token).await;
    DELIVERED.check(name, &seen);
    world.front.lie(rules);

    let bad_day = world.shop.gateway.redeem_all().await.unwrap();

    assert_eq!(bad_day.lost_sat, 0, "{name}: {bad_day:?}");
    assert!(bad_day.waiting_sat >= 100, "{name}: {bad_day:?}");
    world.front.lie(&[]);
    let good_day = world.shop.gateway.redeem_all().await.unwrap();
    assert!(good_day.redeemed_sat >= 100, "{name}: {good_day:?}");
    let held = world
        .shop
        .booked(Account::vault(&world.shop.mint.url))
        .await;
    assert_eq!(held, 0, "{name}");
    check_sound(&world.shop, &world.caller).await;
    json!({"fault": format!("mint {name} at a redeem"), "lost_sat": bad_day.lost_sat,
           "waiting_sat": bad_day.waiting_sat, "redeemed_sat": good_day.redeemed_sat})
}

//! Long checks, run by name:
//! `cargo test --release --test soak -- --ignored NAME --nocapture`.
//!
//! Each prints one JSON line with its figures and fails when its assertion does.
//! `FERIA_SOAK_SCALE` (default 1) multiplies the rounds. A short form of each
//! runs in the ordinary tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/buyer.rs"]
mod buyer;
#[path = "../support/demo_process.rs"]
mod demo_process;
mod float_cost;
mod gateway_crash;
#[path = "../support/kept_port.rs"]
mod kept_port;
mod malformed_storm;
#[path = "../support/mint_front.rs"]
mod mint_front;
#[path = "../it/bad_input/node.rs"]
#[allow(dead_code, reason = "the node of the ordinary tests can do more")]
mod node;
mod parallel_budget;
mod pay_crash;
mod replay_race;
#[path = "../support/rough_upstream.rs"]
mod rough_upstream;
#[path = "../it/gateway/shop.rs"]
#[allow(dead_code, reason = "the shop of the ordinary tests can do more")]
mod shop;
#[path = "../support/stall.rs"]
mod stall;
mod upstream_faults;
mod wallet_sweep;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

fn rounds(base: usize) -> usize {
    let scale = std::env::var("FERIA_SOAK_SCALE")
        .ok()
        .and_then(|text| text.parse::<usize>().ok())
        .unwrap_or(1);
    base * scale
}

/// The demo is killed at random moments and started again on the same folder:
/// after recovery nothing is missing and nothing is there twice.
#[test]
#[ignore = "long: run by name"]
fn demo_kill() {
    let folder = tempfile::tempdir().unwrap();
    let seed = std::env::var("FERIA_SOAK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let mut rng = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    let first = demo_process::run_to_end(folder.path());
    demo_process::assert_conserved(&first);
    let full_run = started.elapsed();

    let mut kills = Vec::new();
    let mut recovered = 0;
    for _ in 0..rounds(10) {
        let moment =
            Duration::from_millis(rng.random_range(50..full_run.as_millis() as u64 * 4 / 5));
        let was_running = demo_process::kill_after(folder.path(), moment);
        let ended = demo_process::run_to_end(folder.path());
        demo_process::assert_conserved(&ended);
        let report = ended.report.as_ref().unwrap();
        let resolved = report["recovered"].as_array().map_or(0, Vec::len);
        recovered += resolved;
        kills.push(json!({
            "after_ms": moment.as_millis() as u64,
            "was_running": was_running,
            "recovered": report["recovered"],
            "funded_msat": report["ledger"]["funded_msat"],
            "held_msat": report["ledger"]["held_msat"],
            "fees_msat": report["ledger"]["fees_msat"],
        }));
    }
    println!(
        "{}",
        json!({
            "soak": "demo_kill",
            "seed": seed,
            "kills": kills,
            "open_operations_recovered": recovered,
            "full_run_ms": full_run.as_millis() as u64,
            "total_secs": started.elapsed().as_secs(),
        })
    );
}

/// The demo dies once at each crash point and is started again on the same
/// folder: whatever had just been written down, nothing is missing or there twice.
/// Needs `--features crash-points`; `FERIA_SOAK_POINT` picks one.
#[test]
#[ignore = "long: run by name"]
#[cfg(feature = "crash-points")]
fn demo_crash() {
    let only = std::env::var("FERIA_SOAK_POINT").ok();
    let started = Instant::now();
    let mut points = Vec::new();
    let mut faults = Vec::new();
    for point in feria::crash::POINTS {
        if only.as_ref().is_some_and(|only| only != point) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let died = demo_process::run_with(folder.path(), &[("FERIA_CRASH_AT", point)]);
        let was_reached = died.report.is_none() && !died.success;
        let ended = demo_process::run_to_end(folder.path());
        let verdict = std::panic::catch_unwind(|| demo_process::assert_conserved(&ended));
        if verdict.is_err() {
            faults.push(*point);
        }
        points.push(json!({
            "point": point,
            "reached": was_reached,
            "recovered": ended.report.as_ref().map(|report| report["recovered"].clone()),
            "conserved": verdict.is_ok(),
        }));
    }
    println!(
        "{}",
        json!({
            "soak": "demo_crash",
            "points": points,
            "total_secs": started.elapsed().as_secs(),
        })
    );
    assert!(faults.is_empty(), "not conserved after dying at {faults:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// 64 requests at the same moment with one payment, of each kind: one delivery each.
/// `FERIA_SOAK_KIND` picks one of `l402`, `nut24-offline` and `nut24-swap`.
#[test]
#[ignore = "long: run by name"]
fn replay_race() {
    let only = std::env::var("FERIA_SOAK_KIND").ok();
    let kinds = replay_race::Kind::ALL
        .into_iter()
        .filter(|kind| only.as_ref().is_none_or(|only| only == kind.name()));
    let races: Vec<_> = kinds
        .map(|kind| runtime().block_on(replay_race::race(kind, rounds(1_000))))
        .collect();
    println!("{}", json!({"soak": "replay_race", "races": races}));
}

/// The gateway dies at each crash point of a paid call, for each rail, and is
/// started again: nothing is lost, nothing served twice. Without the feature
/// `crash-points` it only dies while its upstream has the call.
/// `FERIA_SOAK_POINT` picks one point.
#[test]
#[ignore = "long: run by name"]
fn gateway_crash() {
    let only = std::env::var("FERIA_SOAK_POINT").ok();
    let started = Instant::now();
    let rounds = rounds(100);
    let kills = gateway_crash::kills()
        .into_iter()
        .filter(|kill| only.as_ref().is_none_or(|only| only == kill.point));
    let points: Vec<_> = kills
        .map(|kill| runtime().block_on(gateway_crash::run("the_seller_of_the_kills", kill, rounds)))
        .collect();
    let sum = |name: &str| {
        points
            .iter()
            .filter_map(|point| point[name].as_u64())
            .sum::<u64>()
    };
    println!(
        "{}",
        json!({
            "soak": "gateway_crash",
            "kills": sum("kills"),
            "lost_sat": sum("lost_sat"),
            "served_twice": sum("served_twice"),
            "upstream_worked_twice": sum("upstream_worked_twice"),
            "points": points,
            "total_secs": started.elapsed().as_secs(),
        })
    );
    for point in &points {
        gateway_crash::check(point, rounds);
    }
}

#[test]
#[ignore = "the process that is killed, started by its soak"]
fn the_seller_of_the_kills() {
    gateway_crash::child();
}

/// The buyer dies at each crash point of a purchase, for each way to pay, and is
/// started again: nothing is open, nothing paid twice, nothing missing. Without the
/// feature `crash-points` it only dies while the seller has its call.
/// `FERIA_SOAK_POINT` picks one point.
#[test]
#[ignore = "long: run by name"]
fn pay_crash() {
    let only = std::env::var("FERIA_SOAK_POINT").ok();
    let started = Instant::now();
    let rounds = rounds(100);
    let kills = pay_crash::kills()
        .into_iter()
        .filter(|kill| only.as_ref().is_none_or(|only| only == kill.point));
    let points: Vec<_> = kills
        .map(|kill| runtime().block_on(pay_crash::run("the_buyer_of_the_kills", kill, rounds)))
        .collect();
    let sum = |name: &str| {
        points
            .iter()
            .filter_map(|point| point[name].as_i64())
            .sum::<i64>()
    };
    println!(
        "{}",
        json!({
            "soak": "pay_crash",
            "kills": sum("kills"),
            "still_open": sum("still_open"),
            "paid_twice": sum("paid_twice"),
            "missing_msat": sum("missing_msat"),
            "points": points,
            "total_secs": started.elapsed().as_secs(),
        })
    );
    for point in &points {
        pay_crash::check(point, rounds);
    }
}

#[test]
#[ignore = "the process that is killed, started by its soak"]
fn the_buyer_of_the_kills() {
    pay_crash::child();
}

/// 50 calls at once by an agent whose budget is for 10, out of one process and out
/// of 50 on one data folder: exactly 10 are paid.
#[test]
#[ignore = "long: run by name"]
fn parallel_budget() {
    let started = Instant::now();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_feria"));
    let one: Vec<_> = (0..rounds(20))
        .map(|_| runtime().block_on(parallel_budget::one_process(50, 10)))
        .collect();
    let many: Vec<_> = (0..rounds(5))
        .map(|_| runtime().block_on(parallel_budget::many_processes(program, 50, 10)))
        .collect();
    println!(
        "{}",
        json!({
            "soak": "parallel_budget",
            "one_process": {"rounds": one.len(), "first": one.first()},
            "process_per_call": {"rounds": many.len(), "first": many.first()},
            "total_secs": started.elapsed().as_secs(),
        })
    );
}

/// Calls per second and requests to the mint, with and without a float.
#[test]
#[ignore = "long: run by name"]
fn float_cost() {
    let figures = runtime().block_on(float_cost::run(rounds(500)));
    println!("{}", json!({"soak": "float_cost", "figures": figures}));
    assert!(figures["mint_requests_ratio"].as_f64().unwrap() < 0.2);
    // Also what is redeemed later is redeemed by the batch.
    assert!(
        figures["with"]["redeem_requests_per_call"]
            .as_f64()
            .unwrap()
            < 0.1
    );
}

/// Everything behind the gateway breaks, row by row.
#[test]
#[ignore = "long: run by name"]
fn upstream_faults() {
    let started = Instant::now();
    let mut rows = Vec::new();
    for _ in 0..rounds(1) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        rows = runtime.block_on(upstream_faults::run());
    }
    println!(
        "{}",
        json!({
            "soak": "upstream_faults",
            "rounds": rounds(1),
            "rows": rows,
            "total_secs": started.elapsed().as_secs(),
        })
    );
}

/// Malformed payments at every parser that a stranger reaches.
#[test]
#[ignore = "long: run by name"]
fn malformed_storm() {
    let figures = runtime().block_on(malformed_storm::storm(7, rounds(10_000)));
    println!("{}", json!({"soak": "malformed_storm", "figures": figures}));
}

/// A hundred agent wallets live, expire and are swept in a process that is killed
/// again and again: what came in is what is there, what was spent, and fees.
#[test]
#[ignore = "long: run by name"]
fn wallet_sweep() {
    let started = Instant::now();
    let run = wallet_sweep::run("the_wallets_of_the_kills", 100, rounds(20), 3);
    let figures = runtime().block_on(run);
    println!(
        "{}",
        json!({
            "soak": "wallet_sweep",
            "figures": figures,
            "total_secs": started.elapsed().as_secs(),
        })
    );
    wallet_sweep::check(&figures);
}

#[test]
#[ignore = "the process that is killed, started by its soak"]
fn the_wallets_of_the_kills() {
    wallet_sweep::child();
}

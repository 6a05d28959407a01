//! Long checks, run by name:
//! `cargo test --release --test soak -- --ignored NAME --nocapture`.
//!
//! Each prints one JSON line with its figures and fails when its assertion does.
//! `FERIA_SOAK_SCALE` (default 1) multiplies the rounds. A short form of each
//! runs in the ordinary tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/demo_process.rs"]
mod demo_process;

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

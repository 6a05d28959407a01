//! The soaks of the paid path in short: the same checks, a few rounds each.

use std::path::Path;

use super::gateway_crash;
use super::parallel_budget;
use super::pay_crash;
use super::replay_race::{self, Kind};
use super::upstream_faults;

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_at_the_same_moment_buys_one_call() {
    for kind in Kind::ALL {
        replay_race::race(kind, 3).await;
    }
}

#[tokio::test]
async fn what_breaks_behind_the_gateway_costs_the_payer_nothing() {
    upstream_faults::run().await;
}

/// Without the kill points of the feature `crash-points`, the process dies while
/// its upstream has the call.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_owes_nobody_anything() {
    for kill in gateway_crash::kills() {
        let figures = gateway_crash::run(SELLER, kill, 2).await;
        gateway_crash::check(&figures, 2);
    }
}

const SELLER: &str = "gateway::soaks::the_seller_of_the_kills";

#[test]
#[ignore = "the process that is killed, started by its test"]
fn the_seller_of_the_kills() {
    gateway_crash::child();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_that_is_killed_pays_once_and_misses_nothing() {
    for kill in pay_crash::kills() {
        let figures = pay_crash::run(BUYER, kill, 2).await;
        pay_crash::check(&figures, 2);
    }
}

const BUYER: &str = "gateway::soaks::the_buyer_of_the_kills";

#[test]
#[ignore = "the process that is killed, started by its test"]
fn the_buyer_of_the_kills() {
    pay_crash::child();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_stay_within_a_budget() {
    parallel_budget::one_process(20, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_out_of_many_processes_stay_within_a_budget() {
    let program = Path::new(env!("CARGO_BIN_EXE_feria"));
    parallel_budget::many_processes(program, 8, 3).await;
}

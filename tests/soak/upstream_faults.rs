//! What a payer meets when something behind the gateway breaks, row by row: the
//! status, the word for programs, what became of the money, how often the
//! upstream worked, and that it is all well again once it is mended.

// Written out, because this file is a module of two binaries.
#[path = "upstream_faults/lightning.rs"]
mod lightning;
#[path = "upstream_faults/mint.rs"]
mod mint;
#[path = "upstream_faults/upstream.rs"]
mod upstream;

use std::time::Duration;

use serde_json::Value;

use super::shop::Shop;
use super::stall::{Caller, Seen};

/// Goes through all tables once. Needs a runtime of one thread: time is moved by hand.
pub(super) async fn run() -> Vec<Value> {
    let mut rows = upstream::run().await;
    rows.extend(mint::run().await);
    rows.extend(lightning::run().await);
    rows
}

/// What the payer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    status: u16,
    code: &'static str,
    money: &'static str,
    has_token: bool,
}

const fn told(status: u16, code: &'static str, money: &'static str) -> Told {
    Told {
        status,
        code,
        money,
        has_token: false,
    }
}

impl Told {
    const fn with_token(self) -> Self {
        Self {
            has_token: true,
            ..self
        }
    }

    #[track_caller]
    fn check(&self, what: &str, seen: &Seen) {
        let has_token = seen
            .header("x-cashu")
            .is_some_and(|value| value.starts_with("cashu"));
        assert_eq!(
            (
                seen.status,
                seen.code().as_str(),
                seen.money().as_str(),
                has_token
            ),
            (self.status, self.code, self.money, self.has_token),
            "{what}: {}",
            seen.body
        );
    }
}

/// What an answer without a document says of itself.
const DELIVERED: Told = told(200, "", "");

/// Waits for `call`; whenever `held` rings, so much time passes that whoever waits gives up.
async fn as_time_runs_out<T>(
    call: impl Future<Output = T>,
    held: impl AsyncFn(),
    passes: Duration,
) -> T {
    let mut call = std::pin::pin!(call);
    loop {
        tokio::select! {
            seen = &mut call => return seen,
            () = held() => {
                tokio::time::pause();
                tokio::time::advance(passes).await;
                tokio::time::resume();
            }
        }
    }
}

/// A fresh payment buys a call, and the books add up.
async fn check_sound(shop: &Shop, caller: &Caller) {
    let token = shop.token_of_purse(101, false).await;
    let paid = [super::shop::paid(&token)];
    let seen = caller.call(&paid, "sound").await.unwrap();
    assert_eq!(seen.status, 200, "{}", seen.body);
    shop.gateway.redeem_all().await.unwrap();
    shop.check_books().await;
}

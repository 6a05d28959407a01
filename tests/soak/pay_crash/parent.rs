//! What outlives the buyer: the seller, the mints, the network, and the count of
//! what was paid.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use feria::config::GatewayConfig;
use feria::lightning::PaymentState;
use feria::lightning::simulated::SimulatedNetwork;
use feria::spend::{LockPolicy, Rail};
use feria::store::ledger::Account;
use feria::wallet::TREASURY;
use feria_paywall::amount::{Msat, Sat};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::super::shop::{Mode, Setup, Shop};
use super::super::stall::{Caller, serve};
use super::child::{ACCOUNT, FLOAT, FOLDER, LIGHTNING, LISTENS, MINTS, Order};

/// The price of a call, in satoshi.
const PRICE: u64 = 100;
/// The most that one purchase may cost beside its price.
const MAX_FEES: u64 = 20;
/// How often the buyer is asked to settle what is open.
const ATTEMPTS: usize = 3_000;

/// How the money goes to the seller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    /// Locked ecash of the seller's mint.
    Ecash,
    /// Plain ecash of the seller's mint, for a call that fails.
    Refunded,
    /// Ecash of another mint, melted for the invoice.
    Melt,
    /// The buyer's Lightning backend.
    Backend,
    /// Ecash of another mint, moved to the seller's.
    Moved,
    /// Ecash of the seller's mint, locked two calls ahead.
    Float,
}

/// One place to die at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) point: &'static str,
    pub(crate) road: Road,
    /// Killed from outside, while the seller's upstream has the call.
    pub(crate) is_held: bool,
}

/// A buyer's process; killed when dropped.
struct Buyer {
    process: Child,
    control: Caller,
}

/// The figures of one kill point.
#[derive(Default)]
struct Figures {
    kills: u64,
    not_reached: u64,
    ends: BTreeMap<String, u64>,
    paid_twice: u64,
    still_open: u64,
    answers_differ: u64,
}

/// Kills the buyer `rounds` times as `kill` says, and returns what became of the
/// money. `entry` is the test of this binary that runs the child.
pub(crate) async fn run(entry: &str, kill: Kill, rounds: usize) -> Value {
    let mut setup = Setup::new(1, &["l402", "nut24"]);
    setup.config = GatewayConfig {
        challenges_per_minute: 0,
        // The call of a buyer that died is given up soon.
        upstream_timeout_secs: 1,
        vault_cap: Sat::new(10_000_000),
        ..GatewayConfig::default()
    };
    let shop = Shop::set_up(setup, std::future::ready).await;
    let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
    let payer = payer(&shop).await;
    let folder = tempfile::tempdir().unwrap();
    let start = async |point: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([entry, "--exact", "--include-ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(MINTS, format!("{} {}", shop.mint.url, shop.other_mint.url))
            .env_remove("FERIA_CRASH_AT");
        if kill.road == Road::Backend {
            command.env(LIGHTNING, &payer);
        } else if kill.road == Road::Float {
            command.env(FLOAT, "2");
        }
        if let Some(point) = point {
            command.env("FERIA_CRASH_AT", point);
        }
        Buyer::start(command).await
    };
    let mut figures = Figures::default();
    let mut buyer = start(None).await;
    buyer.fill_purse(&shop, kill.road, rounds).await;
    for round in 0..rounds {
        let before = buyer.worth(&shop).await;
        drop(buyer);
        let doomed = start((!kill.is_held).then_some(kill.point)).await;
        let order = order(&url, kill, round);
        die(&shop, doomed, kill, &order, &mut figures).await;
        shop.upstream.set(Mode::Work);
        buyer = start(None).await;
        let first = buyer.buy(&order).await;
        let second = buyer.buy(&order).await;
        figures.answers_differ += u64::from(first["body"] != second["body"]);
        figures.still_open += buyer.settle().await;
        let end = second["end"].as_str().unwrap_or("none").to_owned();
        let spent = before - buyer.worth(&shop).await;
        let due = if ["delivered", "paid"].contains(&end.as_str()) {
            PRICE * 1_000
        } else {
            0
        };
        figures.paid_twice += u64::from(spent > due + MAX_FEES * 1_000);
        *figures.ends.entry(end).or_default() += 1;
    }
    let books = buyer.ask("/books", &Value::Null).await;
    figures.report(kill, conserved(&shop, &books).await)
}

/// Asserts that each round died, that nothing is open or was paid twice, and that
/// nothing is missing.
#[track_caller]
pub(crate) fn check(figures: &Value, rounds: usize) {
    let kills = figures["kills"].as_u64().unwrap() as usize;
    if figures["road"] == "float" {
        // The first call makes none, and every second has one from the call before.
        assert!(kills >= (rounds - 1) / 2, "{figures}");
    } else {
        assert_eq!(kills, rounds, "{figures}");
    }
    assert_eq!(figures["paid_twice"], 0, "{figures}");
    assert_eq!(figures["still_open"], 0, "{figures}");
    assert_eq!(figures["answers_differ"], 0, "{figures}");
    assert_eq!(figures["missing_msat"], 0, "{figures}");
    assert_eq!(figures["clean"], true, "{figures}");
}

fn order(url: &str, kill: Kill, round: usize) -> Order {
    let question = format!("{} {:?} {round}", kill.point, kill.road);
    Order {
        url: format!("{url}/a/data/v1/query"),
        key: question.clone(),
        question,
        rail: match kill.road {
            Road::Melt | Road::Backend => Rail::Lightning,
            Road::Ecash | Road::Refunded | Road::Moved | Road::Float => Rail::Cashu,
        },
        lock: match kill.road {
            Road::Refunded => LockPolicy::Never,
            _ => LockPolicy::Auto,
        },
    }
}

/// Lets the buyer die in the middle of the purchase.
async fn die(shop: &Shop, mut doomed: Buyer, kill: Kill, order: &Order, figures: &mut Figures) {
    shop.upstream.set(match kill.road {
        _ if kill.is_held => Mode::Silent,
        Road::Refunded => Mode::Fail,
        _ => Mode::Work,
    });
    if kill.is_held {
        tokio::select! {
            answer = doomed.try_buy(order) => panic!("{answer:?}"),
            () = shop.upstream.reached.notified() => {}
        }
        doomed.process.start_kill().unwrap();
    } else if doomed.try_buy(order).await.is_some() {
        figures.not_reached += 1;
        return;
    }
    if let Ok(ended) = tokio::time::timeout(Duration::from_secs(10), doomed.process.wait()).await {
        assert!(!ended.unwrap().success());
        figures.kills += 1;
    } else {
        figures.not_reached += 1;
    }
}

/// Returns whether the buyer's books are right, and what left it that is neither
/// the seller's income nor a fee, in millisatoshi.
async fn conserved(shop: &Shop, books: &Value) -> (bool, i64) {
    let balances = books["balances_msat"].as_object().unwrap();
    let sum = |prefix: &str| -> i64 {
        balances
            .iter()
            .filter(|(account, _)| account.starts_with(prefix))
            .map(|(_, msat)| msat.as_i64().unwrap())
            .sum()
    };
    let is_clean = books["clean"] == true && books["differences"] == json!([]);
    shop.gateway.redeem_all().await.unwrap();
    shop.gateway.sync_settled().await.unwrap();
    let earned = -shop.booked(Account::income("data")).await * 1_000
        - shop.booked(Account::income("unclaimed")).await * 1_000;
    shop.check_books().await;
    (is_clean, sum("expense:") - earned)
}

impl Figures {
    fn report(&self, kill: Kill, (is_clean, missing_msat): (bool, i64)) -> Value {
        json!({
            "point": kill.point,
            "road": format!("{:?}", kill.road).to_lowercase(),
            "kills": self.kills,
            "not_reached": self.not_reached,
            "ends": self.ends,
            "paid_twice": self.paid_twice,
            "still_open": self.still_open,
            "answers_differ": self.answers_differ,
            "missing_msat": missing_msat,
            "clean": is_clean,
        })
    }
}

impl Buyer {
    async fn start(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.expect("the buyer starts");
            if let Some(url) = line.strip_prefix(LISTENS) {
                let control = Caller::of(url.to_owned());
                return Self { process, control };
            }
        }
    }

    async fn ask(&self, path: &str, question: &Value) -> Value {
        let json = [("content-type", "application/json".to_owned())];
        let question = question.to_string();
        let answer = self.control.post(path, &json, &question);
        answer.await.unwrap().json()
    }

    /// Orders what may be the last.
    async fn try_buy(&self, order: &Order) -> Option<Value> {
        let json = [("content-type", "application/json".to_owned())];
        let body = serde_json::to_string(order).unwrap();
        let answer = self.control.post("/buy", &json, &body).await.ok()?;
        Some(answer.json())
    }

    /// Orders until the answer is final.
    async fn buy(&self, order: &Order) -> Value {
        for _ in 0..ATTEMPTS {
            let answer = self.try_buy(order).await.unwrap();
            // 409: the call of the process that died is not given up yet.
            if answer["end"] != "unknown" && answer["status"] != 409 {
                return answer;
            }
        }
        self.try_buy(order).await.unwrap()
    }

    /// Settles what is open, and returns how much still is.
    async fn settle(&self) -> u64 {
        let mut open = 0;
        for _ in 0..ATTEMPTS {
            open = self
                .ask("/settle", &Value::Null)
                .await
                .as_array()
                .map_or(0, Vec::len);
            if open == 0 {
                break;
            }
        }
        open as u64
    }

    /// What the buyer has, in millisatoshi: its proofs, what is on its way, its account.
    async fn worth(&self, shop: &Shop) -> u64 {
        let books = self.ask("/books", &Value::Null).await;
        let held: i64 = books["balances_msat"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(account, _)| account.starts_with("assets:"))
            .filter(|(account, _)| !account.starts_with("assets:lightning"))
            .map(|(_, msat)| msat.as_i64().unwrap())
            .sum();
        u64::try_from(held).unwrap() + shop.network.balance(ACCOUNT).as_u64()
    }

    /// Gives the buyer what all rounds together may cost, where its road begins.
    async fn fill_purse(&self, shop: &Shop, road: Road, rounds: usize) {
        let sat = (rounds as u64 + 2) * (PRICE + MAX_FEES);
        let mint = match road {
            Road::Ecash | Road::Refunded | Road::Float => &shop.mint.url,
            Road::Melt | Road::Moved => &shop.other_mint.url,
            Road::Backend => {
                shop.network
                    .faucet(ACCOUNT, Msat::new(sat * 1_000))
                    .unwrap();
                return;
            }
        };
        let quote = self.ask("/quote", &json!([mint, sat])).await;
        shop.pay(quote[1].as_str().unwrap()).await;
        for _ in 0..ATTEMPTS {
            if !self.ask("/claim", &quote[0]).await.is_null() {
                return;
            }
        }
        panic!("the purse of {TREASURY} stays empty");
    }
}

/// Serves the network's account `buyer` to the child; returns the address.
async fn payer(shop: &Shop) -> String {
    let router = Router::new()
        .route("/pay", post(pay))
        .route("/state", post(state))
        .with_state(shop.network.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    shop.lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    url
}

async fn pay(
    State(network): State<SimulatedNetwork>,
    Json((bolt11, fee_limit)): Json<(String, u64)>,
) -> Json<Value> {
    // A payment goes on when the one who ordered it is gone.
    let paying = tokio::spawn(async move {
        let patience = Duration::from_secs(5);
        let fee_limit = Msat::new(fee_limit);
        network.pay(ACCOUNT, &bolt11, fee_limit, patience).await
    });
    Json(told(&paying.await.unwrap()))
}

async fn state(State(network): State<SimulatedNetwork>, Json(hash): Json<String>) -> Json<Value> {
    Json(told(
        &network.payment_state(ACCOUNT, &hash.parse().unwrap()),
    ))
}

fn told(state: &PaymentState) -> Value {
    match state {
        PaymentState::Succeeded { preimage, fee } => {
            json!({"preimage": preimage.expose_hex(), "fee_msat": fee.as_u64()})
        }
        PaymentState::Failed { .. } => json!({"failed": true}),
        PaymentState::Pending | PaymentState::Unknown { .. } => json!({}),
    }
}

//! What outlives the seller, and the buyers who want their due.

use std::collections::{BTreeMap, HashSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use feria::lightning::LightningBackend;
use feria::lightning::simulated::SimulatedBackend;
use feria_paywall::amount::Msat;
use feria_paywall::l402::Challenge;
use feria_paywall::xcashu::token::parse;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::super::shop::{Mode, Shop, l402, paid};
use super::super::stall::{Caller, Seen};
use super::child::{FOLDER, LIGHTNING, LISTENS, MINT, UPSTREAM};

/// The price of a call, in satoshi.
const PRICE: u64 = 100;
/// The most that the mint takes out of one payment and its refund or change.
const MINT_FEES: u64 = 3;
/// How often a buyer asks again who is told to.
const ATTEMPTS: usize = 200;

/// How the payment comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rail {
    L402,
    Offline,
    Swap,
}

/// What the seller is doing when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A call that is served.
    Call,
    /// A call whose upstream fails.
    FailingCall,
    /// A refund, after the upstream has failed.
    Refund,
    /// A redeem of what was accepted offline, after the answer.
    Redeem,
    /// A call that its upstream has in hands; killed from outside.
    Held,
}

/// One place to die at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) point: &'static str,
    pub(crate) rail: Rail,
    pub(crate) step: Step,
    pub(crate) is_overpaid: bool,
}

/// What a buyer has paid with.
struct Payment {
    header: (&'static str, String),
    token: Option<String>,
    sat: u64,
}

/// What a buyer has got for one payment.
#[derive(Default)]
struct Got {
    answers: HashSet<String>,
    /// Tokens: refunds and change, each once however often it was given.
    tokens: HashSet<String>,
}

/// A seller's process; killed when dropped.
struct Seller {
    process: Child,
    caller: Caller,
}

/// The figures of one kill point.
#[derive(Default)]
struct Figures {
    kills: u64,
    not_reached: u64,
    outcomes: BTreeMap<&'static str, u64>,
    upstream_twice: u64,
    served_twice: u64,
    lost_sat: u64,
}

/// Kills the seller `rounds` times as `kill` says, and returns what became of the
/// money. `entry` is the test of this binary that runs the child.
pub(crate) async fn run(entry: &str, kill: Kill, rounds: usize) -> Value {
    let shop = Shop::open(1, &["l402", "nut24"]).await;
    let lightning = lightning(&shop).await;
    let folder = tempfile::tempdir().unwrap();
    let start = async |point: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([entry, "--exact", "--include-ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(MINT, &shop.mint.url)
            .env(UPSTREAM, &shop.upstream_url)
            .env(LIGHTNING, &lightning)
            .env_remove("FERIA_CRASH_AT");
        if let Some(point) = point {
            command.env("FERIA_CRASH_AT", point);
        }
        Seller::start(command).await
    };
    let mut figures = Figures::default();
    for round in 0..rounds {
        let doomed = start((kill.step != Step::Held).then_some(kill.point)).await;
        let payment = payment(&shop, &doomed.caller, kill).await;
        let question = format!("{} {round}", kill.point);
        let mut got = Got::default();
        die(
            &shop,
            doomed,
            kill,
            &payment,
            &question,
            &mut got,
            &mut figures,
        )
        .await;
        shop.upstream.set(Mode::Work);
        let alive = start(None).await;
        let wants_refund =
            kill.step == Step::Refund || round % 2 == 1 && kill.step == Step::FailingCall;
        settle(&alive.caller, &payment, &question, wants_refund, &mut got).await;
        let worked = shop.upstream.bodies.lock().get(&question).copied();
        figures
            .count(&shop, kill, &payment, &got, worked.unwrap_or(0))
            .await;
        if round + 1 == rounds {
            check_books(&shop, &alive.caller, kill).await;
        }
    }
    figures.report(kill)
}

/// Asserts that nothing was lost and nothing served twice, and that each round died.
#[track_caller]
pub(crate) fn check(figures: &Value, rounds: usize) {
    assert_eq!(figures["kills"], rounds, "{figures}");
    assert_eq!(figures["lost_sat"], 0, "{figures}");
    assert_eq!(figures["served_twice"], 0, "{figures}");
    assert_eq!(figures["outcomes"]["nothing"], Value::Null, "{figures}");
}

/// Lets the seller die in the middle of what `kill` says.
async fn die(
    shop: &Shop,
    mut doomed: Seller,
    kill: Kill,
    payment: &Payment,
    question: &str,
    got: &mut Got,
    figures: &mut Figures,
) {
    let is_failing = matches!(kill.step, Step::FailingCall | Step::Refund);
    shop.upstream.set(match kill.step {
        Step::Held => Mode::Silent,
        _ if is_failing => Mode::Fail,
        _ => Mode::Work,
    });
    let headers = [payment.header.clone()];
    if kill.step == Step::Held {
        let call = doomed.caller.call(&headers, question);
        tokio::select! {
            seen = call => panic!("{seen:?}"),
            () = shop.upstream.reached.notified() => {}
        }
        doomed.process.start_kill().unwrap();
    } else if let Ok(seen) = doomed.caller.call(&headers, question).await {
        got.note(&seen);
        match kill.step {
            Step::Refund => {
                let token = payment.token.as_deref().unwrap();
                if let Ok(seen) = doomed.caller.refund(token).await {
                    got.note_refund(&seen);
                }
            }
            Step::Redeem => {
                doomed.caller.post("/control/redeem", &[], "").await.ok();
            }
            _ => {}
        }
    }
    if let Ok(ended) = tokio::time::timeout(Duration::from_secs(10), doomed.process.wait()).await {
        assert!(!ended.unwrap().success());
        figures.kills += 1;
    } else {
        figures.not_reached += 1;
    }
}

/// Repeats what the buyer wants until the answer is final, and then wants more.
async fn settle(
    caller: &Caller,
    payment: &Payment,
    question: &str,
    wants_refund: bool,
    got: &mut Got,
) {
    let headers = [payment.header.clone()];
    let call_until_final = async |got: &mut Got| {
        for _ in 0..ATTEMPTS {
            let seen = caller.call(&headers, question).await.unwrap();
            got.note(&seen);
            if !matches!(seen.status, 409 | 503) {
                return;
            }
        }
        panic!("no final answer for {question}");
    };
    let refund_until_final = async |got: &mut Got| {
        let Some(token) = &payment.token else { return };
        for _ in 0..ATTEMPTS {
            let seen = caller.refund(token).await.unwrap();
            got.note_refund(&seen);
            if !matches!(seen.status, 425 | 503) {
                return;
            }
        }
        panic!("no final word on the refund of {question}");
    };
    if wants_refund {
        refund_until_final(got).await;
        call_until_final(got).await;
    } else {
        call_until_final(got).await;
        refund_until_final(got).await;
    }
    // And again, as somebody would who wants to see whether there is more.
    call_until_final(got).await;
    refund_until_final(got).await;
}

impl Got {
    fn note(&mut self, seen: &Seen) {
        assert_ne!(seen.status, 500, "{seen:?}");
        if seen.status == 200 {
            self.answers.insert(seen.body.clone());
        }
        // A 402 carries a payment request in this header.
        if seen.status != 402
            && let Some(token) = seen.header("x-cashu")
        {
            self.tokens.insert(token.to_owned());
        }
    }

    fn note_refund(&mut self, seen: &Seen) {
        if seen.status == 200 {
            let token = seen.json()["token"].as_str().unwrap().to_owned();
            self.tokens.insert(token);
        }
    }
}

impl Figures {
    /// Says what became of one payment.
    async fn count(&mut self, shop: &Shop, kill: Kill, payment: &Payment, got: &Got, worked: u64) {
        let mut back = 0;
        for token in &got.tokens {
            // What is locked to the buyer's key opens with it.
            back += shop.buyer_receives(token).await;
        }
        let due = payment.sat - if got.answers.is_empty() { 0 } else { PRICE };
        self.lost_sat += (due.saturating_sub(back)).saturating_sub(if kill.rail == Rail::L402 {
            0
        } else {
            MINT_FEES
        });
        let is_double = got.answers.len() > 1 || back > due;
        self.served_twice += u64::from(is_double);
        assert!(worked <= 2, "the upstream worked {worked} times");
        let is_failing = matches!(kill.step, Step::FailingCall | Step::Refund);
        self.upstream_twice += u64::from(worked > 1 && !is_failing);
        let outcome = match (got.answers.is_empty(), back > 0) {
            (false, false) => "delivered",
            (false, true) => "delivered, change",
            (true, true) => "refunded",
            (true, false) => "nothing",
        };
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn report(&self, kill: Kill) -> Value {
        json!({
            "point": kill.point,
            "rail": format!("{:?}", kill.rail).to_lowercase(),
            "step": format!("{:?}", kill.step).to_lowercase(),
            "change": kill.is_overpaid,
            "kills": self.kills,
            "not_reached": self.not_reached,
            "outcomes": self.outcomes,
            "upstream_worked_twice": self.upstream_twice,
            "served_twice": self.served_twice,
            "lost_sat": self.lost_sat,
        })
    }
}

/// The seller's books add up, and say where every satoshi is that was paid.
async fn check_books(shop: &Shop, caller: &Caller, kill: Kill) {
    caller.post("/control/redeem", &[], "").await.unwrap();
    let books = caller.post("/control/books", &[], "").await.unwrap().json();
    let sat = |name: &str| books[name].as_i64().unwrap();
    assert_eq!(books["clean"], true, "{books}");
    assert_eq!(sat("held"), sat("treasury"), "{books}");
    assert_eq!(
        (sat("in_flight"), sat("vault"), sat("owed")),
        (0, 0, 0),
        "{books}"
    );
    // Every proof that the mint has ever signed and not taken back is somebody's.
    let outstanding = shop.mint.outstanding_sat().await.unwrap() as i64;
    let buyer = shop.buyer_holds().await as i64;
    assert_eq!(outstanding, sat("held") + buyer, "{books}");
    if kill.rail == Rail::L402 {
        let arrived = shop.network.balance("seller").as_u64() as i64 / 1_000;
        assert_eq!(sat("lightning"), arrived, "{books}");
        assert_eq!(sat("income") + sat("unclaimed"), arrived, "{books}");
    }
}

async fn payment(shop: &Shop, caller: &Caller, kill: Kill) -> Payment {
    let token = match (kill.rail, kill.is_overpaid) {
        (Rail::L402, _) => {
            let credential = buy(shop, caller).await;
            return Payment {
                header: l402(&credential),
                token: None,
                sat: PRICE,
            };
        }
        (Rail::Offline, _) => shop.token_of_purse(PRICE, true).await,
        (Rail::Swap, true) => shop.token_of_purse(PRICE + 60, false).await,
        (Rail::Swap, false) => shop.token_of_purse(PRICE + 1, false).await,
    };
    Payment {
        header: paid(&token),
        sat: parse(&token, 65_536).unwrap().amount.as_u64(),
        token: Some(token),
    }
}

/// Pays the invoice of a 402 out of the network that the seller's backend asks.
async fn buy(shop: &Shop, caller: &Caller) -> (String, String) {
    let answer = caller.call(&[], "x").await.unwrap();
    let challenge = Challenge::parse_all(&answer.headers).remove(0);
    let preimage = shop.pay(&challenge.invoice).await;
    (challenge.token, preimage.expose_hex())
}

impl Seller {
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
            let line = line.expect("the seller starts");
            if let Some(url) = line.strip_prefix(LISTENS) {
                let caller = Caller::of(url.to_owned());
                return Self { process, caller };
            }
        }
    }
}

/// Serves the network's account `seller` to the child; returns the address.
async fn lightning(shop: &Shop) -> String {
    let backend = Arc::new(SimulatedBackend::new(shop.network.clone(), "seller"));
    let router = Router::new()
        .route("/invoice", post(invoice))
        .route("/settled", post(settled))
        .with_state(backend);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    shop.lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    url
}

async fn invoice(
    State(backend): State<Arc<SimulatedBackend>>,
    Json((msat, description, secs)): Json<(u64, String, u64)>,
) -> Json<Value> {
    let expiry = Duration::from_secs(secs);
    let made = backend.create_invoice(Msat::new(msat), &description, expiry);
    let made = made.await.unwrap();
    Json(json!({
        "bolt11": made.bolt11,
        "payment_hash": made.payment_hash.to_string(),
        "expires_at": made.expires_at,
    }))
}

async fn settled(
    State(backend): State<Arc<SimulatedBackend>>,
    Json(index): Json<u64>,
) -> Json<Value> {
    let settled = backend.settled_since(index).await.unwrap();
    Json(Value::Array(
        settled
            .iter()
            .map(|one| {
                json!({
                    "index": one.index,
                    "payment_hash": one.payment_hash.to_string(),
                    "amount_msat": one.amount.as_u64(),
                })
            })
            .collect(),
    ))
}

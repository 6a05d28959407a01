//! A hundred agent wallets at once, in a process that is killed again and again.
//!
//! The child opens wallets, fills them, tries to overfill them, spends, freezes,
//! lets them expire and sweeps them, round after round, until the parent kills it
//! in the middle of a step. The parent opens the same folder, recovers, and adds
//! up: what was paid in is what the treasury holds, what was spent, and fees.
//!
//! *Lost* is what is missing of that sum. The treasury's proofs are compared with
//! the books after every kill, and at the end their value is redeemed by a wallet
//! of another seed: the mint has the last word.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use feria::clock::{OffsetClock, SharedClock, SystemClock, SystemEntropy};
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::SimulatedNetwork;
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::store::ledger::{Account, EntryKind, Ledger};
use feria::wallet::{
    MintTrust, NewAgentWallet, ReceiveRequest, SendRequest, TREASURY, WalletError, Wallets,
};
use feria_paywall::amount::{Msat, Sat};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const FOLDER: &str = "FERIA_SOAK_FOLDER";
const MINT: &str = "FERIA_SOAK_MINT";
const WALLETS: &str = "FERIA_SOAK_WALLETS";
const ROUND: &str = "FERIA_SOAK_ROUND";
/// What each line of the child begins with that says a step is done.
const STEP: &str = "step ";

const LIMIT_SAT: u64 = 40;
const FUNDED_SAT: u64 = 30;
const SPENT_SAT: u64 = 5;
const TTL_SECS: u64 = 600;
/// Thousandths of a satoshi per input.
const FEE_PPK: u64 = 100;
/// How often recovery may look before it has to know.
const LOOKS: usize = 50;
/// Requests at the same time.
const AT_ONCE: usize = 8;

fn wallets(folder: &Path, mint: &str, seed: u8, clock: SharedClock) -> (Ledger, Wallets) {
    let ledger = Ledger::open(&folder.join(format!("ledger-{seed}.db"))).unwrap();
    let trust = MintTrust {
        url: mint.to_owned(),
        cap: Sat::new(10_000_000),
    };
    let entropy = Arc::new(SystemEntropy);
    let wallets = Wallets::new(ledger.clone(), [seed; 64], vec![trust], clock, entropy).unwrap();
    (ledger, wallets)
}

/// Works until it is killed; does nothing in a process that no soak started.
#[allow(clippy::print_stdout, reason = "its parent counts the steps there")]
pub(super) fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Arc::new(OffsetClock::default());
        let mint = std::env::var(MINT).unwrap();
        let (_, wallets) = wallets(Path::new(&folder), &mint, 1, clock.clone());
        let worker = Worker {
            wallets,
            mint,
            clock,
            count: std::env::var(WALLETS).unwrap().parse().unwrap(),
        };
        let round = std::env::var(ROUND).unwrap();
        for turn in 0_u64.. {
            worker.turn(&format!("{round}-{turn}")).await;
        }
    });
}

struct Worker {
    wallets: Wallets,
    mint: String,
    clock: Arc<OffsetClock>,
    count: usize,
}

impl Worker {
    /// One life of all wallets.
    #[allow(clippy::print_stdout, reason = "its parent counts the steps there")]
    async fn turn(&self, name: &str) {
        let mut opened = Vec::new();
        for index in 0..self.count {
            let new = NewAgentWallet {
                agent: format!("agent-{index}"),
                limit: Sat::new(LIMIT_SAT),
                ttl_secs: TTL_SECS,
                mint: self.mint.clone(),
            };
            opened.push(self.wallets.create_agent_wallet(new).await.unwrap().id);
            println!("{STEP}opened");
        }
        let lives = opened.iter().enumerate().map(|(index, id)| async move {
            let amount = Sat::new(FUNDED_SAT);
            self.wallets.fund_agent_wallet(id, amount).await.unwrap();
            println!("{STEP}funded");
            let over = self.wallets.fund_agent_wallet(id, amount).await;
            assert!(matches!(over, Err(WalletError::Limit(_))), "{over:?}");
            println!("{STEP}over-limit");
            let operation = format!("{name}-{index}");
            if index % 3 == 0 {
                self.wallets.set_frozen(id, true).await.unwrap();
                let frozen = self.spend(id, &operation).await;
                assert!(
                    matches!(frozen, Err(WalletError::NoWallet(_))),
                    "{frozen:?}"
                );
                println!("{STEP}frozen");
            } else {
                self.spend(id, &operation).await.unwrap();
                println!("{STEP}spent");
            }
        });
        futures_util::stream::iter(lives)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
        self.clock.advance(Duration::from_secs(TTL_SECS));
        let closed = self.wallets.close_expired().await.unwrap();
        assert_eq!(closed.len(), self.count);
        for _ in closed {
            println!("{STEP}swept");
        }
    }

    async fn spend(&self, wallet_id: &str, operation_id: &str) -> Result<(), WalletError> {
        self.wallets
            .send(SendRequest {
                operation_id: operation_id.to_owned(),
                wallet_id: wallet_id.to_owned(),
                mint: self.mint.clone(),
                amount: Sat::new(SPENT_SAT),
                lock: None,
                cover_receiver_fee: false,
                reference: operation_id.to_owned(),
                memo: String::new(),
            })
            .await?;
        self.wallets
            .settle(operation_id, Account::expense("soak"))
            .await
    }
}

/// Kills the child `kills` times while it works on `count` wallets, at moments that
/// `seed` picks. `entry` is the test of this binary that runs the child.
pub(super) async fn run(entry: &str, count: usize, kills: usize, seed: u64) -> Value {
    let lifecycle = Lifecycle::default();
    let clock: SharedClock = Arc::new(SystemClock);
    let entropy = Arc::new(SystemEntropy);
    let network = SimulatedNetwork::open(None, Arc::clone(&clock), entropy).unwrap();
    let mint = SandboxMint::start(SandboxMintConfig {
        name: "a".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        input_fee_ppk: FEE_PPK,
        network: network.clone(),
        data_dir: None,
        seed: [4; 32],
        lifecycle: lifecycle.clone(),
    })
    .await
    .unwrap()
    .url;
    let folder = tempfile::tempdir().unwrap();
    let funded = fund(folder.path(), &mint, &network, count, kills).await;

    let mut rng = StdRng::seed_from_u64(seed);
    let mut figures = Figures::default();
    for round in 0..kills {
        // A life has four steps a wallet; a kill may fall into the next one.
        let steps = rng.random_range(1..=5 * count);
        let child = start(entry, folder.path(), &mint, count, round);
        figures.steps += kill_after(child, steps).await;
        check_round(folder.path(), &mint, funded, &mut figures).await;
    }
    let redeemed = redeem(folder.path(), &mint).await;
    lifecycle.shut_down(Duration::from_secs(5)).await;
    json!({
        "wallets": count,
        "kills": kills,
        "steps": figures.steps,
        "funded_sat": funded,
        "held_sat": figures.held,
        "spent_sat": figures.spent,
        "fees_sat": figures.fees,
        "lost_sat": figures.lost,
        "wallets_restored_and_swept": figures.restored,
        "operations_resolved": figures.resolved,
        "later_looks": figures.later_looks,
        "redeemed_of_held_sat": redeemed,
    })
}

/// Asserts what has to hold of the figures of a run.
pub(super) fn check(figures: &Value) {
    assert_eq!(figures["lost_sat"], 0, "{figures}");
    let sat = |name: &str| figures[name].as_u64().unwrap();
    assert_eq!(
        sat("held_sat") + sat("spent_sat") + sat("fees_sat"),
        sat("funded_sat"),
        "{figures}"
    );
    assert!(sat("wallets_restored_and_swept") > 0, "{figures}");
}

#[derive(Default)]
struct Figures {
    steps: usize,
    restored: u64,
    resolved: usize,
    later_looks: usize,
    held: i64,
    spent: i64,
    fees: i64,
    lost: i64,
}

/// Pays enough into the treasury for every life, and returns how much.
async fn fund(
    folder: &Path,
    mint: &str,
    network: &SimulatedNetwork,
    count: usize,
    kills: usize,
) -> u64 {
    let (_, wallets) = wallets(folder, mint, 1, Arc::new(SystemClock));
    let lives = u64::try_from(2 * kills + 2).unwrap();
    let amount = u64::try_from(count).unwrap() * (2 * FUNDED_SAT + lives * (SPENT_SAT + 3));
    let quote = wallets
        .request_funding(TREASURY, mint, Sat::new(amount))
        .await
        .unwrap();
    network.faucet("bank", Msat::new(amount * 2_000)).unwrap();
    let limit = Duration::from_secs(5);
    network
        .pay("bank", &quote.bolt11, Msat::new(1_000), limit)
        .await;
    let claimed = wallets.claim_funding(&quote.quote_id).await.unwrap();
    claimed.unwrap().amount.as_u64()
}

fn start(
    entry: &str,
    folder: &Path,
    mint: &str,
    count: usize,
    round: usize,
) -> tokio::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", entry, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(MINT, mint)
        .env(WALLETS, count.to_string())
        .env(ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Kills `child` when it has done `steps`; returns how many it did.
async fn kill_after(mut child: tokio::process::Child, steps: usize) -> usize {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = 0;
    while done < steps {
        let line = lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("the child ended by itself after {done} steps"));
        done += usize::from(line.contains(STEP));
    }
    child.start_kill().unwrap();
    let ended = child.wait().await.unwrap();
    assert!(!ended.success());
    done
}

/// Starts again where the child died, and adds up.
async fn check_round(folder: &Path, mint: &str, funded: u64, figures: &mut Figures) {
    let (ledger, wallets) = wallets(folder, mint, 1, Arc::new(SystemClock));
    // A request that went out right before the kill may still be at work in the mint:
    // then recovery says that it does not know, and looks again, as a node does.
    for look in 1.. {
        let report = wallets.recover().await.unwrap();
        figures.restored += report.wallets_swept;
        figures.resolved += report.completed.len() + report.rolled_back.len();
        if report.unknown.is_empty() {
            break;
        }
        assert!(look < LOOKS, "{report:?}");
        figures.later_looks += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let open = wallets.list_agent_wallets().await.unwrap();
    assert!(open.iter().all(|wallet| wallet.state == "closed"));
    for wallet in open.iter().take(20) {
        assert!(wallets.audit_log(&wallet.id).await.unwrap().ok);
    }
    // Handed out and not settled when it died: nobody has it, so it comes home.
    for operation in in_flight(folder) {
        wallets.reclaim(&operation).await.unwrap();
    }
    let differences = wallets.verify_books().await.unwrap();
    assert!(differences.is_empty(), "{differences:?}");
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit:?}");
    let sat = |account: Account| {
        let balance = audit.balances.get(account.as_str()).copied();
        balance.unwrap_or(0) / 1_000
    };
    figures.held = sat(Account::wallet(TREASURY, mint));
    figures.spent = sat(Account::expense("soak"));
    figures.fees = sat(Account::fees("ecash"));
    assert_eq!(sat(Account::in_flight(mint)), 0);
    let accounted = figures.held + figures.spent + figures.fees;
    figures.lost = i64::try_from(funded).unwrap() - accounted;
    assert_eq!(figures.lost, 0, "{:?}", audit.balances);
}

fn in_flight(folder: &Path) -> Vec<String> {
    let file = rusqlite::Connection::open(folder.join("ledger-1.db")).unwrap();
    let mut statement = file
        .prepare("SELECT operation_id FROM tokens_out WHERE state = 'in_flight'")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Hands most of the treasury to a wallet of another seed; returns what that got.
async fn redeem(folder: &Path, mint: &str) -> u64 {
    let clock: SharedClock = Arc::new(SystemClock);
    let (_, payer) = wallets(folder, mint, 1, Arc::clone(&clock));
    let (_, payee) = wallets(folder, mint, 2, clock);
    let held = payer.balance(TREASURY, mint).await.unwrap().as_u64();
    let sent = payer
        .send(SendRequest {
            operation_id: "all".to_owned(),
            wallet_id: TREASURY.to_owned(),
            mint: mint.to_owned(),
            amount: Sat::new(held * 9 / 10),
            lock: None,
            cover_receiver_fee: false,
            reference: "all".to_owned(),
            memo: String::new(),
        })
        .await
        .unwrap();
    let received = payee
        .receive(ReceiveRequest {
            operation_id: "all".to_owned(),
            wallet_id: TREASURY.to_owned(),
            token: sent.token,
            from: Account::income("soak"),
            kind: EntryKind::Earn,
            unlock_as: Vec::new(),
            reference: "all".to_owned(),
        })
        .await
        .unwrap();
    assert_eq!(received.amount.saturating_add(received.fee), sent.amount);
    received.amount.as_u64()
}

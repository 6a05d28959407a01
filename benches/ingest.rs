//! How fast what a relay sends is verified, stored and searchable, against verifying
//! alone; and what an event costs that was there before.

#[path = "support/corpus.rs"]
mod corpus;
mod support;

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use feria::clock::{SystemClock, SystemEntropy};
use feria::lifecycle::Lifecycle;
use feria::market::{Market, Policy};
use feria::relay::{RelayOptions, Relays};
use feria::store::index::Index;
use futures_util::{SinkExt, StreamExt};
use nostr::event::Event;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use corpus::listing;
use support::report::{Case, Goal};
use support::{Scale, median, median_ratio};

const BENCH: &str = "ingest";
/// Events of a quick round; as many ids as a link remembers hold them all.
const EVENTS: u32 = 10_000;
/// The most of a long one.
const MAX_EVENTS: u32 = 40_000;
/// No round takes so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> anyhow::Result<()> {
    let scale = Scale::from_arguments();
    let count = EVENTS
        .saturating_mul(u32::try_from(scale.factor)?)
        .min(MAX_EVENTS);
    let events = Arc::new(signed(count)?);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(scale, events))
}

async fn run(scale: Scale, events: Arc<Vec<Event>>) -> anyhow::Result<()> {
    let (mut verified, mut stored, mut again, mut bytes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let checked = Arc::clone(&events);
        verified.push(tokio::task::spawn_blocking(move || verify_all(&checked)).await??);
        let round = ingest(&events).await?;
        stored.push(round.stored);
        again.push(round.duplicates);
        bytes.push(round.bytes_per_event);
    }
    let ratio = median_ratio(&stored, &verified);
    Case::new(BENCH, "new_events", median(stored.clone()), "events/s")
        .against(median(verified), ratio)
        .with(&format!(
            "{} listings from one socket, with full-text rows",
            events.len()
        ))
        .with("reference: ids and signatures of the same events and nothing else, on all cores")
        .print(Goal::RatioAtLeast(0.4))?;
    let cost = median_ratio(&stored, &again);
    Case::new(
        BENCH,
        "duplicate_cost",
        1e6 / median(again.clone()),
        "us/event",
    )
    .against(1e6 / median(stored), cost)
    .with("reference: the same event when it was new")
    .print(Goal::RatioAtMost(0.05))?;
    Case::new(BENCH, "database", median(bytes), "bytes/event").print(Goal::None)
}

/// Returns `count` signed listings, made on all cores.
fn signed(count: u32) -> anyhow::Result<Vec<Event>> {
    let cores = u32::try_from(cores())?;
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..cores)
            .map(|core| {
                let range = (count * core / cores)..(count * (core + 1) / cores);
                scope.spawn(move || range.map(listing).collect::<anyhow::Result<Vec<_>>>())
            })
            .collect();
        let mut all = Vec::new();
        for part in parts {
            let part = part
                .join()
                .map_err(|_| anyhow::anyhow!("a signer failed"))?;
            all.extend(part?);
        }
        Ok(all)
    })
}

/// Verifies `events` on all cores; returns events a second.
fn verify_all(events: &[Event]) -> anyhow::Result<f64> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let parts: Vec<_> = events
            .chunks(events.len().div_ceil(cores()))
            .map(|part| scope.spawn(move || part.iter().all(|event| event.verify().is_ok())))
            .collect();
        for part in parts {
            let are_genuine = part
                .join()
                .map_err(|_| anyhow::anyhow!("a verifier failed"))?;
            ensure!(are_genuine, "an event of the corpus is not genuine");
        }
        Ok(())
    })?;
    Ok(events.len() as f64 / started.elapsed().as_secs_f64())
}

/// What a round came to.
struct Round {
    /// New events a second.
    stored: f64,
    /// Events a second that were there before.
    duplicates: f64,
    bytes_per_event: f64,
}

/// Has a node read a relay that sends `events`, twice.
async fn ingest(events: &Arc<Vec<Event>>) -> anyhow::Result<Round> {
    let lifecycle = Lifecycle::default();
    let (go, relay) = serve(Arc::clone(events), &lifecycle).await?;
    // Not the system's folder for temporary files, which may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let index = Index::open(&folder.path().join("index.db"))?;
    let options = RelayOptions {
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(60),
        max_frame_bytes: 512 * 1_024,
    };
    let relays = Relays::new(
        options,
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
        lifecycle.clone(),
    );
    let market = Market::new(
        index,
        relays.clone(),
        Policy::default(),
        Arc::new(SystemClock),
    );
    let (reader, urls) = (market.reader(), vec![relay]);
    lifecycle.spawn(async move {
        // Ends with the round.
        let _ = reader.run(urls).await;
    });
    let count = events.len() as u64;
    let of_stored = || {
        market
            .indexer
            .counters()
            .get("stored")
            .copied()
            .unwrap_or(0)
    };
    let stored = timed(&go, count, of_stored).await?;
    let of_duplicates = || relays.health().iter().map(|relay| relay.duplicates).sum();
    let duplicates = timed(&go, count, of_duplicates).await?;
    lifecycle.shut_down(PATIENCE).await;
    let mut bytes = 0;
    for file in std::fs::read_dir(folder.path())? {
        bytes += file?.metadata()?.len();
    }
    Ok(Round {
        stored,
        duplicates,
        bytes_per_event: bytes as f64 / count as f64,
    })
}

/// Has the relay send everything; returns how many a second come, by `counter`.
async fn timed(
    go: &mpsc::Sender<()>,
    count: u64,
    counter: impl Fn() -> u64,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    go.send(()).await?;
    while counter() < count {
        ensure!(
            started.elapsed() < PATIENCE,
            "{} of {count} came",
            counter()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Serves a relay that sends `events` to its subscriber each time it is told to go.
async fn serve(
    events: Arc<Vec<Event>>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(mpsc::Sender<()>, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("bind a loopback port")?;
    let url = format!("ws://{}", listener.local_addr()?);
    let (go, gone) = mpsc::channel(1);
    let (gone, tasks) = (Arc::new(tokio::sync::Mutex::new(gone)), lifecycle.clone());
    lifecycle.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (events, gone) = (Arc::clone(&events), Arc::clone(&gone));
            tasks.spawn(async move {
                // A node that hangs up ends the round.
                let _ = talk(stream, &events, &gone).await;
            });
        }
    });
    Ok((go, url))
}

async fn talk(
    stream: TcpStream,
    events: &[Event],
    go: &tokio::sync::Mutex<mpsc::Receiver<()>>,
) -> anyhow::Result<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        let request: Value = serde_json::from_str(&text)?;
        if request[0] != "REQ" {
            continue;
        }
        let id = request[1].as_str().context("a REQ without id")?.to_owned();
        if request[2].get("until").is_some() {
            // Everything comes by the subscription.
            end(&mut socket, &id).await?;
            continue;
        }
        let frames: Vec<Message> = events
            .iter()
            .map(|event| Message::text(format!(r#"["EVENT","{id}",{}]"#, event.as_json())))
            .collect();
        while go.lock().await.recv().await.is_some() {
            for frame in &frames {
                socket.feed(frame.clone()).await?;
            }
            end(&mut socket, &id).await?;
        }
    }
    Ok(())
}

async fn end(socket: &mut WebSocketStream<TcpStream>, id: &str) -> anyhow::Result<()> {
    Ok(socket
        .send(Message::text(format!(r#"["EOSE","{id}"]"#)))
        .await?)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

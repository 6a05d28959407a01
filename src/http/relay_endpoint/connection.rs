//! One websocket of a client: reading, live events, writing.
//!
//! The writer has a queue bounded in messages and bytes. Stored events wait for
//! room in it, which stops reading from a client that does not read; live events
//! never wait, so a client that falls behind is dropped and may come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use nostr::event::Event;
use nostr::filter::{Filter, MatchEventOptions};
use nostr::key::PublicKey;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::timeout;

use super::RelayEndpoint;
use super::policy::{is_expired, is_readable};
use crate::clock::random_id;

const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that was silent for so long, pongs included, is gone.
const IDLE_AFTER: Duration = Duration::from_secs(120);
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that may wait for one client.
const OUTBOUND_BYTES: u32 = 4 * 1024 * 1024;
/// Messages without meaning that one connection may send.
const MAX_STRIKES: u32 = 64;

/// The connection has ended, or is to be ended.
#[derive(Debug)]
pub(super) struct Gone;

/// Serves `socket` until either side has enough.
pub(super) async fn serve(endpoint: Arc<RelayEndpoint>, socket: WebSocket) {
    let (sink, stream) = socket.split();
    let live = endpoint.parts.live.subscribe();
    let (queue, queued) = mpsc::channel(endpoint.parts.policy.outbound_queue);
    let outbound = Outbound {
        queue,
        room: Arc::new(Semaphore::new(OUTBOUND_BYTES as usize)),
    };
    let challenge = random_id(endpoint.parts.entropy.as_ref());
    let mut client = Client {
        endpoint,
        outbound,
        challenge,
        authenticated: Vec::new(),
        subscriptions: HashMap::new(),
        strikes: 0,
    };
    tokio::select! {
        () = write(sink, queued) => {}
        Gone = client.run(stream, live) => {}
    }
}

struct Queued {
    text: String,
    /// Given back when the text is written.
    room: OwnedSemaphorePermit,
}

struct Outbound {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

impl Outbound {
    async fn send(&self, text: String) -> Result<(), Gone> {
        let room = Arc::clone(&self.room);
        let room = room.acquire_many_owned(bytes_of(&text)).await;
        let room = room.map_err(|_closed| Gone)?;
        let queued = Queued { text, room };
        self.queue.send(queued).await.map_err(|_closed| Gone)
    }

    fn try_send(&self, text: String) -> Result<(), Gone> {
        let room = Arc::clone(&self.room);
        let room = room.try_acquire_many_owned(bytes_of(&text));
        let room = room.map_err(|_full| Gone)?;
        let queued = Queued { text, room };
        self.queue.try_send(queued).map_err(|_full| Gone)
    }
}

fn bytes_of(text: &str) -> u32 {
    u32::try_from(text.len()).map_or(OUTBOUND_BYTES, |bytes| bytes.min(OUTBOUND_BYTES))
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut queued: mpsc::Receiver<Queued>) {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.tick().await;
    loop {
        let written = tokio::select! {
            next = queued.recv() => match next {
                Some(first) => timeout(WRITE_TIMEOUT, write_batch(&mut sink, first, &mut queued)).await,
                None => return,
            },
            _ = ping.tick() => timeout(WRITE_TIMEOUT, sink.send(Message::Ping(Bytes::new()))).await,
        };
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Writes what is queued at once, so that a burst needs one flush.
async fn write_batch(
    sink: &mut SplitSink<WebSocket, Message>,
    first: Queued,
    queued: &mut mpsc::Receiver<Queued>,
) -> Result<(), axum::Error> {
    let mut next = Some(first);
    for _ in 0..64 {
        let Some(Queued { text, room }) = next else {
            break;
        };
        sink.feed(Message::Text(text.into())).await?;
        drop(room);
        next = queued.try_recv().ok();
    }
    if let Some(Queued { text, room }) = next {
        sink.feed(Message::Text(text.into())).await?;
        drop(room);
    }
    sink.flush().await
}

/// What the relay knows about one connection.
pub(super) struct Client {
    pub(super) endpoint: Arc<RelayEndpoint>,
    outbound: Outbound,
    pub(super) challenge: String,
    /// Keys proven by NIP-42 on this connection.
    pub(super) authenticated: Vec<PublicKey>,
    pub(super) subscriptions: HashMap<String, Vec<Filter>>,
    strikes: u32,
}

impl Client {
    async fn run(
        &mut self,
        mut frames: SplitStream<WebSocket>,
        mut live: broadcast::Receiver<Arc<Event>>,
    ) -> Gone {
        let greeting = serde_json::json!(["AUTH", self.challenge]).to_string();
        if let Err(gone) = self.send(greeting).await {
            return gone;
        }
        loop {
            let step = tokio::select! {
                frame = timeout(IDLE_AFTER, frames.next()) => match frame {
                    Ok(Some(Ok(frame))) => self.read(frame).await,
                    Ok(Some(Err(_)) | None) | Err(_) => Err(Gone),
                },
                event = live.recv() => match event {
                    Ok(event) => self.announce(&event),
                    // Going on would leave a gap that the client cannot see.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => Err(Gone),
                },
            };
            if let Err(gone) = step {
                return gone;
            }
        }
    }

    async fn read(&mut self, frame: Message) -> Result<(), Gone> {
        match frame {
            Message::Text(text) => self.answer(text.as_str()).await,
            Message::Binary(_) => self.complain("invalid: text frames only").await,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(Gone),
        }
    }

    /// Queues `text`, waiting for room.
    pub(super) async fn send(&self, text: String) -> Result<(), Gone> {
        self.outbound.send(text).await
    }

    /// Counts a message without meaning, and ends the connection of a client that
    /// goes on sending such.
    pub(super) fn strike(&mut self) -> Result<(), Gone> {
        self.strikes += 1;
        if self.strikes > MAX_STRIKES {
            return Err(Gone);
        }
        Ok(())
    }

    /// Counts a message that has no name to answer by, and says so.
    pub(super) async fn complain(&mut self, notice: &str) -> Result<(), Gone> {
        self.strike()?;
        self.send(serde_json::json!(["NOTICE", notice]).to_string())
            .await
    }

    fn announce(&self, event: &Event) -> Result<(), Gone> {
        let now = self.endpoint.parts.clock.now();
        if !is_readable(event, &self.authenticated) || is_expired(event, now) {
            return Ok(());
        }
        for (id, filters) in &self.subscriptions {
            let is_asked = filters
                .iter()
                .any(|filter| filter.match_event(event, MatchEventOptions::new()));
            if !is_asked {
                continue;
            }
            if let Some(text) = event_message(id, event) {
                self.outbound.try_send(text)?;
            }
        }
        Ok(())
    }
}

/// Returns the `EVENT` message of `event` for the subscription `id`.
pub(super) fn event_message(id: &str, event: &Event) -> Option<String> {
    serde_json::to_string(&("EVENT", id, event)).ok()
}

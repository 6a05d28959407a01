//! A served endpoint, a scripted hostile relay, a raw client.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria::clock::{ManualClock, SeededEntropy, SharedClock};
use feria::http::relay_endpoint::{
    EventSink, RelayEndpoint, RelayEndpointParts, RelayInfo, RelayPolicy, SinkAnswer,
};
use feria::lifecycle::Lifecycle;
use feria::relay::{Delivery, RelayOptions, RelayTiming, Relays};
use feria::store::index::{Index, Stored};
use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::{Keys, PublicKey};
use nostr::types::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

/// Where the clocks of these tests stand.
pub(crate) const NOW: u64 = 1_800_000_000;
/// No test waits so long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

struct IndexSink {
    index: Index,
    clock: SharedClock,
}

#[async_trait]
impl EventSink for IndexSink {
    async fn offer(&self, event: Event, _authenticated: &[PublicKey]) -> SinkAnswer {
        let now = self.clock.now();
        let stored = self.index.insert(event, Vec::new(), None, now).await;
        let (accepted, is_new, message) = match stored.unwrap() {
            Stored::New => (true, true, ""),
            Stored::Duplicate => (true, false, "duplicate: have it"),
            Stored::Superseded => (false, false, "replaced: have newer event"),
            Stored::Deleted => (false, false, "blocked: deleted by its author"),
            Stored::OverQuota => (false, false, "rate-limited: too many"),
        };
        SinkAnswer {
            accepted,
            message: message.to_owned(),
            is_new,
        }
    }
}

/// The node's relay endpoint, served on loopback.
pub(crate) struct Relay {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) endpoint: Arc<RelayEndpoint>,
    pub(crate) live: broadcast::Sender<Arc<Event>>,
    index: Index,
    clock: SharedClock,
    lifecycle: Lifecycle,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_at(Arc::new(ManualClock::at(NOW)), RelayPolicy::default()).await
    }

    pub(crate) async fn start_at(clock: SharedClock, policy: RelayPolicy) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, Index::in_memory().unwrap(), clock, policy)
    }

    fn serve(
        listener: TcpListener,
        index: Index,
        clock: SharedClock,
        mut policy: RelayPolicy,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let url = format!("ws://{address}");
        policy.public_urls = vec![format!("http://{address}")];
        let lifecycle = Lifecycle::default();
        let (live, _) = broadcast::channel(1_024);
        let endpoint = Arc::new(RelayEndpoint::new(RelayEndpointParts {
            index: index.clone(),
            sink: Arc::new(IndexSink {
                index: index.clone(),
                clock: Arc::clone(&clock),
            }),
            live: live.clone(),
            policy,
            info: RelayInfo {
                name: "test relay".to_owned(),
                ..RelayInfo::default()
            },
            clock: Arc::clone(&clock),
            entropy: Arc::new(SeededEntropy::new(7)),
            lifecycle: lifecycle.clone(),
        }));
        let router = Arc::clone(&endpoint).router();
        lifecycle.spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            url,
            address,
            endpoint,
            live,
            index,
            clock,
            lifecycle,
        }
    }

    /// Stores an event without telling anybody.
    pub(crate) async fn store(&self, event: Event) {
        let stored = self.index.insert(event, Vec::new(), None, self.clock.now());
        assert_eq!(stored.await.unwrap(), Stored::New);
    }

    /// Ends the relay and every connection to it.
    pub(crate) async fn stop(self) -> Stopped {
        assert!(self.lifecycle.shut_down(PATIENCE).await);
        Stopped {
            address: self.address,
            index: self.index,
            clock: self.clock,
        }
    }
}

/// A relay that was stopped, and may come back with what it had.
pub(crate) struct Stopped {
    address: SocketAddr,
    index: Index,
    clock: SharedClock,
}

impl Stopped {
    /// Stores an event that is there when the relay comes back.
    pub(crate) async fn store(&self, event: Event) {
        let stored = self.index.insert(event, Vec::new(), None, self.clock.now());
        assert_eq!(stored.await.unwrap(), Stored::New);
    }

    pub(crate) async fn start_again(self) -> Relay {
        let listener = TcpListener::bind(self.address).await.unwrap();
        Relay::serve(listener, self.index, self.clock, RelayPolicy::default())
    }
}

/// Our links, quick to reconnect.
pub(crate) fn links() -> Relays {
    links_with(Arc::new(ManualClock::at(NOW)), |_, _| {})
}

pub(crate) fn links_with(
    clock: SharedClock,
    adjust: impl FnOnce(&mut RelayOptions, &mut RelayTiming),
) -> Relays {
    let mut options = RelayOptions {
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(5),
        max_frame_bytes: 512 * 1024,
    };
    let mut timing = RelayTiming {
        backoff_base: Duration::from_millis(5),
        backoff_cap: Duration::from_millis(20),
        ..RelayTiming::default()
    };
    adjust(&mut options, &mut timing);
    Relays::with_timing(
        options,
        timing,
        clock,
        Arc::new(SeededEntropy::new(3)),
        Lifecycle::default(),
    )
}

/// Signs an event dated `NOW`.
pub(crate) fn event(keys: &Keys, kind: u16, content: &str, tags: &[&[&str]]) -> Event {
    event_at(keys, NOW, kind, content, tags)
}

pub(crate) fn event_at(
    keys: &Keys,
    created_at: u64,
    kind: u16,
    content: &str,
    tags: &[&[&str]],
) -> Event {
    let tags = tags
        .iter()
        .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
    EventBuilder::new(Kind::from(kind), content)
        .tags(tags)
        .custom_created_at(Timestamp::from(created_at))
        .finalize(keys)
        .unwrap()
}

/// Waits for the next delivery.
pub(crate) async fn next(receiver: &mut mpsc::Receiver<Delivery>) -> Delivery {
    timeout(PATIENCE, receiver.recv())
        .await
        .expect("a delivery in time")
        .expect("an open subscription")
}

/// Waits for the next event, passing over ends of stored events.
pub(crate) async fn next_event(receiver: &mut mpsc::Receiver<Delivery>) -> Event {
    loop {
        if let Delivery::Event(received) = next(receiver).await {
            return received.event;
        }
    }
}

/// Waits until the stored events of a relay are through.
pub(crate) async fn end_of_stored(receiver: &mut mpsc::Receiver<Delivery>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match next(receiver).await {
            Delivery::Event(received) => events.push(received.event),
            Delivery::EndOfStored { .. } => return events,
        }
    }
}

/// Lets other tasks run until `is_true`.
pub(crate) async fn eventually(is_true: impl Fn() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("it becomes true in time");
}

type ServerSocket = WebSocketStream<TcpStream>;

/// A relay that does what its script says, connection by connection.
pub(crate) async fn scripted<F, Fut>(script: F) -> String
where
    F: Fn(usize, Peer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(socket) = accept_async(stream).await {
                tokio::spawn(script(number, Peer { socket }));
            }
        }
    });
    url
}

/// The scripted side of a connection.
pub(crate) struct Peer {
    pub(crate) socket: ServerSocket,
}

impl Peer {
    pub(crate) async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        // The link may have hung up, which is what some scripts provoke.
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// Returns the next message of the link; `None` when it hung up.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    }

    /// Waits for the next `REQ` and returns its subscription id.
    pub(crate) async fn requested(&mut self) -> String {
        loop {
            let message = self.hear().await.expect("a REQ");
            if message[0] == "REQ" {
                return message[1].as_str().unwrap().to_owned();
            }
        }
    }

    /// Reads until the link hangs up.
    pub(crate) async fn stay(&mut self) {
        while self.hear().await.is_some() {}
    }
}

/// A client that says whatever a test wants.
pub(crate) struct RawClient {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) challenge: String,
}

impl RawClient {
    pub(crate) async fn connect(relay: &Relay) -> Self {
        let (socket, _) = connect_async(relay.url.as_str()).await.unwrap();
        let mut client = Self {
            socket,
            challenge: String::new(),
        };
        let greeting = client.hear().await;
        assert_eq!(greeting[0], "AUTH");
        client.challenge = greeting[1].as_str().unwrap().to_owned();
        client
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Value {
        self.try_hear().await.expect("a message of the relay")
    }

    /// Returns the next message; `None` when the relay hung up.
    pub(crate) async fn try_hear(&mut self) -> Option<Value> {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    }

    /// Publishes `event` and returns whether it was accepted, and the words.
    pub(crate) async fn publish(&mut self, event: &Event) -> (bool, String) {
        self.say(json!(["EVENT", event])).await;
        self.hear_ok().await
    }

    pub(crate) async fn authenticate(&mut self, keys: &Keys, relay: &str) -> (bool, String) {
        let challenge = self.challenge.clone();
        let tags: [&[&str]; 2] = [&["relay", relay], &["challenge", &challenge]];
        self.say(json!(["AUTH", event(keys, 22_242, "", &tags)]))
            .await;
        self.hear_ok().await
    }

    async fn hear_ok(&mut self) -> (bool, String) {
        let answer = self.hear().await;
        assert_eq!(answer[0], "OK", "{answer}");
        let message = answer[3].as_str().unwrap().to_owned();
        (answer[2].as_bool().unwrap(), message)
    }
}

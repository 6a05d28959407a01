//! A wallet behind NIP-47 that says what a test wants, over an independent client.

use std::sync::Arc;

use nostr_sdk::nips::{nip04, nip44};
use nostr_sdk::prelude::{
    Client, Event, EventBuilder, Filter, Keys, Kind, RelayPoolNotification, Tag, TagKind,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::PATIENCE;

/// What the wallet does about a request.
pub(super) enum Said {
    /// Answers with this result or error.
    Answer(Value),
    /// Somebody else answers in its place.
    Forged(Value),
    /// Answers with this in place of an encrypted text.
    Raw(String),
}

/// Says what the wallet does about (method, params).
pub(super) type Script = Box<dyn Fn(&str, &Value) -> Vec<Said> + Send + Sync>;

pub(super) struct ScriptedWallet {
    keys: Keys,
    secret: Keys,
    client: Client,
    relay: String,
    is_old: bool,
    /// The requests, in order.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

pub(super) fn result(method: &str, result: Value) -> Said {
    Said::Answer(json!({"result_type": method, "error": null, "result": result}))
}

pub(super) fn error(method: &str, code: &str) -> Said {
    Said::Answer(json!({
        "result_type": method, "error": {"code": code, "message": "so it is"}, "result": null,
    }))
}

impl ScriptedWallet {
    /// Starts a wallet at `relay`; an old one knows NIP-04 only.
    pub(super) async fn start(relay: &str, is_old: bool, script: Script) -> Self {
        let keys = Keys::generate();
        let client = Client::new(keys.clone());
        client.add_relay(relay).await.unwrap();
        client.connect().await;
        client.wait_for_connection(PATIENCE).await;
        let wallet = Self {
            secret: Keys::generate(),
            relay: relay.to_owned(),
            asked: Arc::default(),
            keys,
            client,
            is_old,
        };
        let mut notifications = wallet.client.notifications();
        let requests = Filter::new()
            .kind(Kind::WalletConnectRequest)
            .pubkey(wallet.keys.public_key());
        wallet.client.subscribe(requests, None).await.unwrap();
        let mut info = EventBuilder::new(Kind::WalletConnectInfo, "");
        if !is_old {
            let encryption = TagKind::custom("encryption");
            info = info.tag(Tag::custom(encryption, ["nip44_v2 nip04"]));
        }
        wallet.client.send_event_builder(info).await.unwrap();
        let (keys, client) = (wallet.keys.clone(), wallet.client.clone());
        let asked = Arc::clone(&wallet.asked);
        tokio::spawn(async move {
            while let Ok(notification) = notifications.recv().await {
                let RelayPoolNotification::Event { event, .. } = notification else {
                    continue;
                };
                let secret = keys.secret_key();
                let text = if is_old {
                    nip04::decrypt(secret, &event.pubkey, &event.content).unwrap()
                } else {
                    nip44::decrypt(secret, &event.pubkey, &event.content).unwrap()
                };
                let request: Value = serde_json::from_str(&text).unwrap();
                let method = request["method"].as_str().unwrap();
                asked
                    .lock()
                    .push((method.to_owned(), request["params"].clone()));
                for said in script(method, &request["params"]) {
                    let answer = answer(&keys, &event, said, is_old);
                    let _ = client.send_event(&answer).await;
                }
            }
        });
        wallet
    }

    /// The connection, as the wallet would show it.
    pub(super) fn uri(&self) -> String {
        format!(
            "nostr+walletconnect://{}?relay={}&secret={}",
            self.keys.public_key().to_hex(),
            self.relay,
            self.secret.secret_key().to_secret_hex()
        )
    }

    /// How often `method` was asked for.
    pub(super) fn count(&self, method: &str) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|(name, _)| name == method).count()
    }

    /// Tells of something that happened.
    pub(super) async fn notify(&self, notification: &Value) {
        let (app, text) = (self.secret.public_key(), notification.to_string());
        let (secret, kind) = (self.keys.secret_key(), 23_196 + u16::from(!self.is_old));
        let content = if self.is_old {
            nip04::encrypt(secret, &app, text).unwrap()
        } else {
            nip44::encrypt(secret, &app, text, nip44::Version::V2).unwrap()
        };
        let told = EventBuilder::new(Kind::from(kind), content).tag(Tag::public_key(app));
        self.client.send_event_builder(told).await.unwrap();
    }
}

fn answer(keys: &Keys, request: &Event, said: Said, is_old: bool) -> Event {
    let other = Keys::generate();
    let (signer, content) = match said {
        Said::Answer(value) => (keys, value.to_string()),
        Said::Forged(value) => (&other, value.to_string()),
        Said::Raw(content) => {
            return EventBuilder::new(Kind::WalletConnectResponse, content)
                .tags([Tag::public_key(request.pubkey), Tag::event(request.id)])
                .sign_with_keys(keys)
                .unwrap();
        }
    };
    let secret = signer.secret_key();
    let content = if is_old {
        nip04::encrypt(secret, &request.pubkey, content).unwrap()
    } else {
        nip44::encrypt(secret, &request.pubkey, content, nip44::Version::V2).unwrap()
    };
    EventBuilder::new(Kind::WalletConnectResponse, content)
        .tags([Tag::public_key(request.pubkey), Tag::event(request.id)])
        .sign_with_keys(signer)
        .unwrap()
}

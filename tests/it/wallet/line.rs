//! A line to the mint that can be cut at a chosen request.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It never reaches the mint.
    HoldRequest,
    /// It does, but its answer never comes back.
    HoldReply,
    /// Like [`Self::HoldReply`], and the connection closes.
    CloseOnReply,
    /// Something before the mint answers this in its place.
    Answer(&'static str),
    /// The mint does the work, and this is what comes back.
    AnswerAfter(&'static str),
}

#[derive(Default)]
struct State {
    /// Applies to requests that contain this text, the first only if it holds.
    cut: Mutex<Option<(Cut, &'static str)>>,
    reached: Notify,
}

pub(crate) struct Line {
    pub(crate) url: String,
    state: Arc<State>,
}

impl Line {
    pub(crate) async fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let (shared, upstream) = (state.clone(), upstream.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, upstream.clone(), shared.clone()));
            }
        });
        Self { url, state }
    }

    pub(crate) fn cut(&self, cut: Cut, at: &'static str) {
        *self.state.cut.lock() = Some((cut, at));
    }

    pub(crate) fn mend(&self) {
        *self.state.cut.lock() = None;
    }

    /// Waits until a request was cut off.
    pub(crate) async fn reached(&self) {
        self.state.reached.notified().await;
    }
}

async fn carry(mut client: TcpStream, upstream: String, state: Arc<State>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let mut cut = None;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&up[..length]);
                cut = cut.or_else(|| {
                    (*state.cut.lock()).filter(|(_, at)| text.contains(at)).map(|(cut, _)| cut)
                });
                if cut == Some(Cut::HoldRequest) {
                    state.reached.notify_one();
                    return std::future::pending().await;
                }
                if let Some(Cut::Answer(text)) = cut {
                    client.write_all(text.as_bytes()).await.ok();
                    return;
                }
                if server.write_all(&up[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                match cut {
                    None | Some(Cut::HoldRequest | Cut::Answer(_)) => {}
                    Some(Cut::AnswerAfter(text)) => {
                        client.write_all(text.as_bytes()).await.ok();
                        return;
                    }
                    Some(Cut::HoldReply) => {
                        state.reached.notify_one();
                        return std::future::pending().await;
                    }
                    Some(Cut::CloseOnReply) => return,
                }
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

//! An upstream that works, fails, falls silent or breaks off as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::kept_port::KeptPort;

/// How the upstream takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rough {
    /// A short answer of known length.
    Works,
    /// Status 500.
    Fails,
    /// No answer.
    Silent,
    /// No connection.
    Refuses,
    /// The connection closes before the head.
    CutBeforeHead,
    /// A part of a short answer of known length.
    CutShort,
    /// A part of an answer that is too long to be kept.
    CutLong,
    /// A part of an answer of unknown length.
    CutStream,
    /// An answer of unknown length that stops without an end.
    Stalls,
}

#[derive(Default)]
struct State {
    mode: Mutex<Option<Rough>>,
    calls: AtomicU64,
    reached: Notify,
}

pub(crate) struct RoughUpstream {
    pub(crate) url: String,
    state: Arc<State>,
    server: Mutex<Option<JoinHandle<()>>>,
    port: KeptPort,
}

impl RoughUpstream {
    pub(crate) async fn start() -> Self {
        let port = KeptPort::new();
        let address = port.address();
        let state = Arc::new(State::default());
        let listener = port.listen();
        Self {
            url: format!("http://{address}"),
            server: Mutex::new(Some(serve(listener, Arc::clone(&state)))),
            state,
            port,
        }
    }

    pub(crate) async fn set(&self, mode: Rough) {
        *self.state.mode.lock() = Some(mode);
        let old = self.server.lock().take();
        if let Some(old) = old {
            old.abort();
            old.await.ok();
        }
        if mode != Rough::Refuses {
            *self.server.lock() = Some(serve(self.port.listen(), Arc::clone(&self.state)));
        }
    }

    /// How many calls came.
    pub(crate) fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// Waits until a call has come that is not answered.
    pub(crate) async fn reached(&self) {
        self.state.reached.notified().await;
    }
}

impl Drop for RoughUpstream {
    fn drop(&mut self) {
        if let Some(server) = self.server.get_mut() {
            server.abort();
        }
    }
}

fn serve(listener: TcpListener, state: Arc<State>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&state)));
        }
    })
}

/// One call, one connection.
async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let question = read_question(&mut stream).await;
    let number = state.calls.fetch_add(1, Ordering::SeqCst);
    let mode = state.mode.lock().unwrap_or(Rough::Works);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
    let text = match mode {
        Rough::Works => {
            let answer = format!("answer {number} to {question}");
            format!("{head}content-length: {}\r\n\r\n{answer}", answer.len())
        }
        Rough::Fails => "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops".to_owned(),
        Rough::CutBeforeHead => return,
        Rough::CutShort => format!("{head}content-length: 100\r\n\r\nhalf"),
        Rough::CutLong => format!("{head}content-length: 1000000\r\n\r\nhalf"),
        Rough::CutStream | Rough::Stalls => {
            format!("{head}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        }
        Rough::Silent | Rough::Refuses => String::new(),
    };
    stream.write_all(text.as_bytes()).await.ok();
    if matches!(mode, Rough::Silent | Rough::Stalls) {
        state.reached.notify_one();
        std::future::pending::<()>().await;
    }
}

/// Reads a request of known length; returns its body.
async fn read_question(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let is_chunked = head.to_ascii_lowercase().contains("chunked");
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let is_whole = match length {
                Some(length) => body.len() >= length,
                None => !is_chunked || body.ends_with("0\r\n\r\n"),
            };
            if is_whole {
                let words = body.split("\r\n").nth(usize::from(is_chunked));
                return words.unwrap_or_default().to_owned();
            }
        }
        match stream.read(&mut buffer).await {
            Ok(length @ 1..) => read.extend_from_slice(&buffer[..length]),
            _ => return String::new(),
        }
    }
}

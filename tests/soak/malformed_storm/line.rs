//! HTTP by hand: a connection that is kept open, and a seller that says anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A connection that is opened again when the node has closed it.
pub(super) struct KeptLine {
    address: String,
    stream: Option<TcpStream>,
}

/// Sends all `requests`, one after the other; returns the status of each, whether
/// an invoice came with it, and the request.
pub(super) async fn throw(mut line: KeptLine, requests: Vec<Vec<u8>>) -> Vec<(u16, bool, Vec<u8>)> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let (status, has_invoice) = line.ask(&request).await;
        answers.push((status, has_invoice, request));
    }
    answers
}

impl KeptLine {
    pub(super) fn to(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
        }
    }

    async fn ask(&mut self, request: &[u8]) -> (u16, bool) {
        for _ in 0..3 {
            if let Some(answer) = self.try_ask(request).await {
                return answer;
            }
            self.stream = None;
        }
        panic!("no answer to {}", String::from_utf8_lossy(request));
    }

    /// `None` when the connection broke, as one does that was kept for too long.
    async fn try_ask(&mut self, request: &[u8]) -> Option<(u16, bool)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(&self.address).await.ok()?,
        };
        stream.write_all(request).await.ok()?;
        let mut read = Vec::new();
        let mut buffer = vec![0; 16_384];
        loop {
            if let Some(end) = find(&read, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
                let status = head.get(9..12)?.parse().ok()?;
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                let is_whole = match length {
                    Some(length) => read.len() >= end + 4 + length,
                    None => read.ends_with(b"0\r\n\r\n"),
                };
                if is_whole {
                    let is_closing = head.contains("connection: close");
                    self.stream = (!is_closing).then_some(stream);
                    return Some((status, head.contains("invoice=\"")));
                }
            }
            let length = stream
                .read(&mut buffer)
                .await
                .ok()
                .filter(|length| *length > 0)?;
            read.extend_from_slice(&buffer[..length]);
        }
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part == word)
}

type Headers = Vec<(&'static str, Vec<u8>)>;

/// A seller whose 402 is whatever it was told to say.
pub(super) struct Seller {
    pub(super) url: String,
    says: Arc<Mutex<Headers>>,
    paid: Arc<AtomicU64>,
}

impl Seller {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let (says, paid) = (Arc::<Mutex<Headers>>::default(), Arc::default());
        let (words, count) = (Arc::clone(&says), Arc::clone(&paid));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(refuse(stream, Arc::clone(&words), Arc::clone(&count)));
            }
        });
        Self { url, says, paid }
    }

    pub(super) fn say(&self, headers: Headers) {
        *self.says.lock() = headers;
    }

    /// How many requests carried a payment.
    pub(super) fn paid(&self) -> u64 {
        self.paid.load(Ordering::SeqCst)
    }
}

async fn refuse(mut stream: TcpStream, says: Arc<Mutex<Headers>>, paid: Arc<AtomicU64>) {
    let mut read = Vec::new();
    let mut buffer = [0; 8_192];
    while find(&read, b"\r\n\r\n").is_none() {
        match stream.read(&mut buffer).await {
            Ok(length @ 1..) => read.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
    if head.contains("\r\nx-cashu:") || head.contains("\r\nauthorization:") {
        paid.fetch_add(1, Ordering::SeqCst);
    }
    let mut answer =
        b"HTTP/1.1 402 Payment Required\r\ncontent-length: 0\r\nconnection: close\r\n".to_vec();
    for (name, value) in says.lock().iter() {
        answer.extend_from_slice(name.as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    stream.write_all(&answer).await.ok();
    stream.shutdown().await.ok();
}

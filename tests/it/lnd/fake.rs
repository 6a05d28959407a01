//! A server that speaks like the REST interface of an lnd, and says what a test wants.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use feria::lifecycle::Lifecycle;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(super) const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/tls");

/// How an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// As HTTP says.
    Clean,
    /// With the connection, in the middle.
    Cut,
    /// Not at all; nothing more comes.
    Silence,
    /// Not at all; this comes again and again.
    Again(String),
}

/// One answer.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A body at once.
    Body(u16, String),
    /// Lines of a stream.
    Lines(Vec<String>, End),
    /// The connection is closed without a byte.
    Nothing,
}

/// What is answered, by the start of the request.
type Script = Vec<(&'static str, VecDeque<Reply>)>;

/// The server; answers by method and path, in order, the last one for ever.
#[derive(Debug, Clone)]
pub(super) struct FakeLnd {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// Heads and bodies of the requests, in order.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
}

impl FakeLnd {
    pub(super) async fn start(lifecycle: &Lifecycle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::default(),
            requests: Arc::default(),
        };
        fake.on("GET /v1/getinfo", [Reply::Body(200, info("regtest"))]);
        fake.on("GET /v1/state", [Reply::Body(200, "{}".to_owned())]);
        let certificate = CertificateDer::from_pem_file(format!("{TLS}/upstream.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(format!("{TLS}/upstream.key")).unwrap();
        feria::client::install_tls_provider();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = fake.clone();
        let tasks = lifecycle.clone();
        lifecycle.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tasks.spawn(async move {
                    if let Ok(socket) = acceptor.accept(socket).await {
                        server.serve(socket).await;
                    }
                });
            }
        });
        fake
    }

    /// From now on requests that start with `request` get `replies`.
    pub(super) fn on(&self, request: &'static str, replies: impl IntoIterator<Item = Reply>) {
        let mut script = self.script.lock();
        script.retain(|(known, _)| *known != request);
        script.push((request, replies.into_iter().collect()));
    }

    pub(super) fn count(&self, request: &str) -> usize {
        let requests = self.requests.lock();
        requests
            .iter()
            .filter(|known| known.starts_with(request))
            .count()
    }

    fn reply_to(&self, request: &str) -> Reply {
        let mut script = self.script.lock();
        let known = script
            .iter_mut()
            .find(|(start, _)| request.starts_with(start));
        let Some((_, replies)) = known else {
            return Reply::Body(501, "{}".to_owned());
        };
        if replies.len() > 1 {
            return replies.pop_front().unwrap();
        }
        replies.front().unwrap().clone()
    }

    /// Answers one connection until it ends.
    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(request) = read_request(&mut socket).await {
            self.requests.lock().push(request.clone());
            let reply = self.reply_to(&request);
            if send(&mut socket, reply).await.is_none() {
                return;
            }
        }
    }
}

pub(super) fn info(network: &str) -> String {
    format!(r#"{{"version":"0.20.1","chains":[{{"chain":"bitcoin","network":"{network}"}}]}}"#)
}

async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let head = loop {
        let byte = socket.read_u8().await.ok()?;
        bytes.push(byte);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes).into_owned();
        }
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or_default()];
    socket.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// `None`: the connection is over.
async fn send(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: Reply) -> Option<()> {
    match reply {
        Reply::Nothing => None,
        Reply::Body(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} said\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all((head + &body).as_bytes()).await.ok()
        }
        Reply::Lines(lines, end) => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            socket.write_all(head.as_bytes()).await.ok()?;
            for line in lines {
                write_chunk(socket, &format!("{line}\n")).await?;
            }
            match end {
                End::Clean => socket.write_all(b"0\r\n\r\n").await.ok(),
                End::Cut => None,
                // Until the client goes.
                End::Silence => socket.read_u8().await.ok().map(|_| ()),
                End::Again(text) => loop {
                    write_chunk(socket, &text).await?;
                },
            }
        }
    }
}

async fn write_chunk(socket: &mut (impl AsyncWrite + Unpin), text: &str) -> Option<()> {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    socket.write_all(chunk.as_bytes()).await.ok()?;
    socket.flush().await.ok()
}

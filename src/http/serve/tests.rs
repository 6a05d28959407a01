//! Clients that take what a connection costs, and give nothing for it.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const MOMENT: Duration = Duration::from_millis(80);
const LONG: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

const LIMITS: Limits = Limits {
    max_connections: 64,
    header_patience: LONG,
    write_patience: LONG,
};

struct Served {
    address: SocketAddr,
    lifecycle: Lifecycle,
}

impl Served {
    async fn start(limits: Limits) -> Self {
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/echo", post(|body: String| async { body }))
            .route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::default();
        serve(router, listener, limits, &lifecycle);
        Self { address, lifecycle }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn endless() -> axum::body::Body {
    let part = || Ok::<_, io::Error>(bytes::Bytes::from_static(&[7; 65_536]));
    axum::body::Body::from_stream(futures_util::stream::repeat_with(part))
}

/// Reads until the server closes; a reset is a close too.
async fn read(client: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let served = Served::start(Limits {
        header_patience: MOMENT,
        ..LIMITS
    })
    .await;

    for begun in [
        &b""[..],
        b"G",
        b"GET / HTTP/1.1\r\nhost: h\r\nx-slow: ",
        b"PRI * HTTP/2.0\r\n",
        // A whole preface and settings, and then nothing.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut client = served.connect().await;
        client.write_all(begun).await.unwrap();
        let answer = read(&mut client).await;
        assert!(!answer.contains("200 OK"), "{begun:?}: {answer}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_slow_request_is_not_idle() {
    let served = Served::start(Limits {
        header_patience: MOMENT,
        ..LIMITS
    })
    .await;
    let mut client = served.connect().await;
    let head = b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\na";

    client.write_all(head).await.unwrap();
    // Longer than an idle connection lives: measured by another one that is closed.
    read(&mut served.connect().await).await;
    read(&mut served.connect().await).await;
    client.write_all(b"b").await.unwrap();

    let answer = read(&mut client).await;
    assert!(answer.ends_with("ab"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_a_place() {
    let served = Served::start(Limits {
        max_connections: 1,
        ..LIMITS
    })
    .await;
    let mut first = served.connect().await;
    let mut second = served.connect().await;
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    first.read_u8().await.unwrap();

    second.write_all(REQUEST).await.unwrap();
    let waits = tokio::time::timeout(MOMENT, second.read_u8()).await;
    drop(first);

    assert!(waits.is_err());
    assert!(read(&mut second).await.ends_with("here"));
}

#[tokio::test]
async fn a_client_that_reads_nothing_gives_its_place_up() {
    let served = Served::start(Limits {
        max_connections: 1,
        write_patience: MOMENT,
        ..LIMITS
    })
    .await;
    let mut reads_nothing = served.connect().await;
    let request = b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n";
    reads_nothing.write_all(request).await.unwrap();

    let mut next = served.connect().await;
    next.write_all(REQUEST).await.unwrap();

    assert!(read(&mut next).await.ends_with("here"));
}

#[tokio::test]
async fn shutdown_lets_an_open_request_end_and_idle_ones_go() {
    let served = Served::start(LIMITS).await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    idle.read_u8().await.unwrap();
    let mut open = served.connect().await;
    let head =
        b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    open.write_all(head).await.unwrap();
    // The answer to the expectation: the request has begun.
    let mut begun = [0; 25];
    open.read_exact(&mut begun).await.unwrap();

    let lifecycle = served.lifecycle.clone();
    let stop = tokio::spawn(async move { lifecycle.shut_down(LONG).await });
    read(&mut idle).await;
    open.write_all(b"ab").await.unwrap();

    assert!(read(&mut open).await.ends_with("ab"));
    assert!(stop.await.unwrap());
}

//! A WebSocket through the gateway: bytes both ways once the upstream has switched.
//!
//! ```text
//! GET + Upgrade, paid ──▶ upstream ──▶ 101: committed ──▶ tunnel ──▶ closed
//!                                  └──▶ else: an ordinary answer
//! ```
//!
//! | what ends the tunnel | how |
//! |---|---|
//! | one side closes | what was read is delivered, the other side's writing end is closed, and the rest of its bytes pass |
//! | nothing passes for the idle time, or the call's whole time is over | both sides are closed |
//! | the node stops | what was read is delivered, both sides are closed |
//! | the client never takes the 101 | the upstream is closed; the call stays committed and cannot be repeated |
//!
//! Frames are not looked into, so a close in the middle of one is the reader's to
//! notice. No other protocol is switched to: an `h2c` passed on would let a client
//! speak to the upstream behind the paywall's back.
//! <https://www.rfc-editor.org/rfc/rfc6455#section-4>

use std::io;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::headers::{has_token, remove_hop_by_hop};
use super::upstream::Patience;
use crate::lifecycle::Lifecycle;

const WEBSOCKET: &str = "websocket";
/// How long both sides may take to switch once the upstream has said so.
const SWITCH_PATIENCE: Duration = Duration::from_secs(10);
/// How long a stopping node waits for what was read to be delivered.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes read at once, for each direction of each tunnel.
const BUFFER_BYTES: usize = 16 * 1024;

/// Takes the client's end out of a request that asks for a WebSocket, if it does.
pub(super) fn requested(parts: &mut Parts) -> Option<OnUpgrade> {
    let asks = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && has_token(&parts.headers, &CONNECTION, "upgrade")
        && has_token(&parts.headers, &UPGRADE, WEBSOCKET);
    let end = parts.extensions.remove::<OnUpgrade>();
    end.filter(|_| asks)
}

/// Asks the next one for the switch; `Upgrade` concerns one connection only.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// Returns whether `answer` switches to what was asked for.
pub(super) fn is_agreed(answer: &reqwest::Response) -> bool {
    answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && has_token(answer.headers(), &UPGRADE, WEBSOCKET)
}

/// Returns the head of the client's answer, and starts the tunnel beside it.
pub(super) fn start(
    client: OnUpgrade,
    upstream: reqwest::Response,
    patience: Patience,
    lifecycle: &Lifecycle,
) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = upstream.headers().clone();
    remove_hop_by_hop(response.headers_mut());
    ask(response.headers_mut());
    let stopping = lifecycle.stopping();
    lifecycle.spawn_draining(async move {
        let switch = async { tokio::join!(client, upstream.upgrade()) };
        if let Ok((Ok(client), Ok(upstream))) = timeout(SWITCH_PATIENCE, switch).await {
            carry(TokioIo::new(client), upstream, patience, stopping).await;
        }
    });
    response
}

/// Carries bytes both ways until the tunnel ends.
async fn carry<A, B>(one: A, other: B, patience: Patience, stopping: impl Future<Output = ()>)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (moved, stop) = (Notify::new(), CancellationToken::new());
    let (one_reads, one_writes) = split(one);
    let (other_reads, other_writes) = split(other);
    let both = async {
        // An error of one direction leaves nothing to say in the other.
        let _ = tokio::try_join!(
            pump(one_reads, other_writes, &moved, &stop),
            pump(other_reads, one_writes, &moved, &stop)
        );
    };
    let drained = async {
        stopping.await;
        stop.cancel();
        sleep(DRAIN_PATIENCE).await;
    };
    tokio::select! {
        () = both => {}
        () = idle(&moved, patience.tunnel) => {}
        () = sleep(patience.call) => {}
        () = drained => {}
    }
}

/// Carries bytes one way until their end or `stop`, then closes the writing end.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Notify,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // Only reading is given up: what was read is written.
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => 0,
            read = from.read(&mut buffer) => read?,
        };
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        moved.notify_one();
    }
}

/// Resolves when nothing has moved for `limit`.
async fn idle(moved: &Notify, limit: Duration) {
    while timeout(limit, moved.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    fn patience(tunnel: Duration, call: Duration) -> Patience {
        Patience {
            head: LONG,
            pause: LONG,
            call,
            tunnel,
        }
    }

    #[tokio::test]
    async fn the_end_of_one_side_lets_the_other_finish() {
        let (mut client, one) = duplex(64);
        let (mut upstream, other) = duplex(64);
        let tunnel = tokio::spawn(carry(
            one,
            other,
            patience(LONG, LONG),
            std::future::pending(),
        ));
        let mut read = String::new();

        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        upstream.read_to_string(&mut read).await.unwrap();
        upstream.write_all(b"answer").await.unwrap();
        drop(upstream);
        client.read_to_string(&mut read).await.unwrap();

        assert_eq!(read, "questionanswer");
        tunnel.await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_tunnel_is_closed_and_so_is_one_that_never_ends() {
        for patience in [patience(MOMENT, LONG), patience(LONG, MOMENT)] {
            let (mut client, one) = duplex(64);
            let (_upstream, other) = duplex(64);

            carry(one, other, patience, std::future::pending()).await;

            assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_stop_delivers_what_was_read() {
        let (mut client, one) = duplex(64);
        // Takes one byte at a time, so the tunnel holds the rest when it stops.
        let (mut upstream, other) = duplex(1);
        let stop = CancellationToken::new();
        let stopping = stop.clone().cancelled_owned();
        let tunnel = tokio::spawn(carry(one, other, patience(LONG, LONG), stopping));
        let mut first = [0];
        let mut rest = String::new();

        client.write_all(b"whole").await.unwrap();
        upstream.read_exact(&mut first).await.unwrap();
        stop.cancel();
        upstream.read_to_string(&mut rest).await.unwrap();
        tunnel.await.unwrap();

        assert_eq!((first, rest.as_str()), ([b'w'], "hole"));
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

//! A load generator on plain HTTP/1.1 keep-alive connections.
//!
//! *Closed loop*: each connection sends its next request when it has its answer;
//! this finds the capacity. *Open loop*: requests are due at fixed times, whatever
//! became of those before, and each latency counts from when its request was due,
//! so a stall is felt by everybody who would have come meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// What every call asks.
const BODY: &[u8] = br#"{"question":"how warm will it be tomorrow?"}"#;

/// What a call carries beside its body.
#[derive(Clone)]
pub(crate) enum Payment {
    None,
    /// The same header on every call.
    Same(HeaderName, HeaderValue),
    /// Each call another value; there must be one for every call.
    Fresh(HeaderName, Arc<Vec<HeaderValue>>),
}

impl Payment {
    pub(crate) fn l402(value: HeaderValue) -> Self {
        Self::Same(AUTHORIZATION, value)
    }

    pub(crate) fn fresh_l402(values: Vec<HeaderValue>) -> Self {
        Self::Fresh(AUTHORIZATION, Arc::new(values))
    }

    pub(crate) fn fresh_tokens(values: Vec<HeaderValue>) -> Self {
        Self::Fresh(HeaderName::from_static("x-cashu"), Arc::new(values))
    }
}

/// Where calls go and what they must come back with.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) payment: Payment,
    pub(crate) status: StatusCode,
}

impl Target {
    fn request(&self, number: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::post(self.path)
            .header(HOST, "127.0.0.1")
            .header(CONTENT_TYPE, "application/json");
        match &self.payment {
            Payment::None => {}
            Payment::Same(name, value) => request = request.header(name, value),
            Payment::Fresh(name, values) => {
                let value = usize::try_from(number)
                    .ok()
                    .and_then(|number| values.get(number));
                request = request.header(name, value.context("too few payments were made")?);
            }
        }
        Ok(request.body(Full::new(Bytes::from_static(BODY)))?)
    }
}

/// One keep-alive connection.
struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(target: Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // A connection that breaks is seen by its next call.
            let _ = connection.await;
        });
        Ok(Self { target, sender })
    }

    /// Makes one call and reads its answer to the end.
    async fn call(&mut self, number: u64) -> anyhow::Result<()> {
        let request = self.target.request(number)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == self.target.status,
            "a call was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }
}

/// What a closed loop came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Calls per second.
    pub(crate) per_second: f64,
    /// Microseconds of processor time that this process spent on a call, on
    /// both sides of the connection. Steadier than the rate on a busy machine.
    pub(crate) cpu_micros: f64,
}

/// Makes `calls` calls over `connections` connections, each as fast as it is answered.
pub(crate) async fn closed(
    target: &Target,
    connections: usize,
    calls: u64,
) -> anyhow::Result<Rate> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(target.clone()).await?);
    }
    let next = Arc::new(AtomicU64::new(0));
    let cpu_before = cpu_time()?;
    let started = Instant::now();
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|mut connection| {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return anyhow::Ok(());
                    }
                    connection.call(number).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let elapsed = started.elapsed();
    Ok(Rate {
        per_second: calls as f64 / elapsed.as_secs_f64(),
        cpu_micros: (cpu_time()? - cpu_before).as_secs_f64() * 1e6 / calls as f64,
    })
}

/// Returns what this process has used of all processors.
fn cpu_time() -> anyhow::Result<Duration> {
    /// `USER_HZ`, the same on every Linux.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit(')').next().context("read /proc/self/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("read the ticks")?.parse::<u64>()?);
    let (user, system) = (ticks()?, ticks()?);
    Ok(Duration::from_millis(
        (user + system) * 1_000 / TICKS_PER_SECOND,
    ))
}

/// Makes `calls` calls at `rate` a second. Returns their latencies in
/// microseconds, each counted from when its call was due.
pub(crate) async fn open(
    target: &Target,
    connections: usize,
    rate: f64,
    calls: u64,
) -> anyhow::Result<Histogram<u64>> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(target.clone()).await?);
    }
    let due = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let interval = Duration::from_secs_f64(1.0 / rate);
    let started = Instant::now() + Duration::from_millis(20);
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|mut connection| {
            let (due, next) = (Arc::clone(&due), Arc::clone(&next));
            tokio::spawn(async move {
                let mut latencies = histogram()?;
                loop {
                    due.acquire().await?.forget();
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return anyhow::Ok(latencies);
                    }
                    connection.call(number).await?;
                    let was_due = started + interval.mul_f64(number as f64);
                    let latency = Instant::now().saturating_duration_since(was_due);
                    latencies.saturating_record(u64::try_from(latency.as_micros())?);
                }
            })
        })
        .collect();
    let pacer = std::thread::spawn(move || pace(&due, started, interval, calls, connections));
    let mut all = histogram()?;
    for task in tasks {
        all.add(task.await??)?;
    }
    pacer
        .join()
        .map_err(|_| anyhow::anyhow!("the pacer failed"))?;
    Ok(all)
}

/// From a microsecond to a minute, three digits each.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Releases each call when it is due. A thread of its own: the runtime's timer
/// only knows milliseconds.
fn pace(due: &Semaphore, started: Instant, interval: Duration, calls: u64, connections: usize) {
    let mut released = 0;
    while released < calls {
        let elapsed = Instant::now().saturating_duration_since(started);
        let until_now = (elapsed.as_secs_f64() / interval.as_secs_f64()) as u64 + 1;
        if Instant::now() >= started && until_now > released {
            let new = until_now.min(calls) - released;
            due.add_permits(usize::try_from(new).unwrap_or(usize::MAX >> 4));
            released += new;
        }
        let wake = started + interval.mul_f64(released as f64);
        std::thread::sleep(wake.saturating_duration_since(Instant::now()));
    }
    // One more for each connection, which tells it to stop.
    due.add_permits(connections);
}

//! The constructors of outgoing HTTP clients.
//!
//! Redirects are never followed: a payment header must not travel to a host that
//! nobody chose. Proxies of the environment are ignored for the same reason. TLS
//! is rustls with the ring provider; a second provider in the binary would make
//! rustls panic at its first use, so it is installed here, once.

mod pin;

use std::sync::Once;
use std::time::Duration;

/// How long a TCP and TLS connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept for the next request.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Unused connections kept per host.
const POOL_MAX_IDLE_PER_HOST: usize = 32;

/// How often an HTTP/2 connection in use is asked whether it is alive.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take before the connection is given up.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What [`http_client`] returns.
pub type HttpClient = reqwest::Client;
/// What such a client answers.
pub type HttpResponse = reqwest::Response;
/// Why it did not.
pub type HttpError = reqwest::Error;

static PROVIDER: Once = Once::new();

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up on this machine.
    #[error("set up the HTTP client")]
    Setup(#[from] reqwest::Error),
    /// The certificates that alone should count are none.
    #[error("read the certificates to trust: {0}")]
    Certificates(String),
}

/// Makes ring the TLS provider of this process; later calls do nothing.
pub fn install_tls_provider() {
    PROVIDER.call_once(|| {
        // An error only says that the embedding program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Returns a client whose requests take at most `timeout` from connecting to the
/// end of the body. Clones share its connections.
///
/// # Errors
/// When TLS cannot be set up.
pub fn http_client(timeout: Duration) -> Result<reqwest::Client, ClientError> {
    install_tls_provider();
    Ok(reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_MAX_IDLE_PER_HOST)
        .user_agent(concat!("feria/", env!("CARGO_PKG_VERSION")))
        .build()?)
}

/// How the client of an upstream speaks to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamProtocol {
    /// How long a TCP and TLS connection may take to open.
    pub connect_timeout: Duration,
    /// HTTP/2 from the first byte; otherwise HTTP/1.1, which can be upgraded.
    pub is_http2: bool,
    /// Certificates in PEM that alone vouch for a host; `None` for the system's.
    pub authorities: Option<String>,
}

/// Returns a client that sends each request once: what a connection did not carry
/// is its caller's to repeat. It has no deadline of its own but that for connecting.
///
/// A request of which no byte was written, because a kept connection had been
/// closed before, goes to a fresh connection; no upstream has seen it.
///
/// # Errors
/// When TLS cannot be set up, or the certificates cannot be read.
pub fn upstream_client(protocol: &UpstreamProtocol) -> Result<reqwest::Client, ClientError> {
    install_tls_provider();
    let mut client = reqwest::Client::builder()
        .connect_timeout(protocol.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_MAX_IDLE_PER_HOST);
    client = if protocol.is_http2 {
        client
            .http2_prior_knowledge()
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
    } else {
        client.http1_only()
    };
    if let Some(pem) = &protocol.authorities {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
    }
    Ok(client.build()?)
}

/// Returns a client for one server that has keys to money. It sends each request
/// once and has no deadline but that for connecting: its caller sets one.
///
/// With `certificates`, in PEM, only a server that shows one of them, or one that
/// they have signed, is spoken to; otherwise the public authorities decide.
///
/// # Errors
/// When TLS cannot be set up, or the certificates cannot be read.
pub fn pinned_client(certificates: Option<&str>) -> Result<reqwest::Client, ClientError> {
    install_tls_provider();
    let mut client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("feria/", env!("CARGO_PKG_VERSION")))
        // A stream that is given up must end with its connection, and no other call with it.
        .http1_only();
    if let Some(pem) = certificates {
        let config = pin::pinned_config(pem).map_err(ClientError::Certificates)?;
        client = client.tls_backend_preconfigured(config);
    }
    Ok(client.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_be_built_more_than_once() {
        assert!(http_client(Duration::from_secs(1)).is_ok());
        assert!(http_client(Duration::from_secs(2)).is_ok());
    }

    #[test]
    fn what_is_no_certificate_is_not_pinned() {
        assert!(matches!(
            pinned_client(Some("no certificate")),
            Err(ClientError::Certificates(_))
        ));
        assert!(pinned_client(None).is_ok());
    }
}

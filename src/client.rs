//! The one constructor of outgoing HTTP clients.
//!
//! Redirects are never followed: a payment header must not travel to a host that
//! nobody chose. Proxies of the environment are ignored for the same reason. TLS
//! is rustls with the ring provider; a second provider in the binary would make
//! rustls panic at its first use, so it is installed here, once.

use std::sync::Once;
use std::time::Duration;

/// How long a TCP and TLS connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept for the next request.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Unused connections kept per host.
const POOL_MAX_IDLE_PER_HOST: usize = 32;

/// What [`http_client`] returns.
pub type HttpClient = reqwest::Client;
/// What such a client answers.
pub type HttpResponse = reqwest::Response;
/// Why it did not.
pub type HttpError = reqwest::Error;

static PROVIDER: Once = Once::new();

/// The client cannot be built, because TLS cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("set up the HTTP client")]
pub struct ClientError(#[from] reqwest::Error);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_be_built_more_than_once() {
        assert!(http_client(Duration::from_secs(1)).is_ok());
        assert!(http_client(Duration::from_secs(2)).is_ok());
    }
}

//! The two sockets of a node.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::Config;

/// The two sockets of a node, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    pub(super) public: TcpListener,
    pub(super) admin: TcpListener,
}

/// Where a node is reached.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Buyers, relay clients, browsers.
    pub public: SocketAddr,
    /// The owner.
    pub admin: SocketAddr,
}

impl Listeners {
    /// Binds both sockets, and completes `config.public.url` when it is empty:
    /// listings and challenges name it, so it must be known before anything is built.
    ///
    /// # Errors
    /// When a port is taken; names the key to change.
    pub async fn bind(config: &mut Config) -> anyhow::Result<Self> {
        let public = bind(config.public.listen, "public.listen").await?;
        let admin = bind(config.admin.listen, "admin.listen").await?;
        if config.public.url.is_empty() {
            config.public.url = format!("http://{}", public.local_addr()?);
        }
        if !config.admin.listen.ip().is_loopback() {
            tracing::warn!(
                listen = %config.admin.listen,
                "the admin listener is not on a loopback address: keep others from reaching it"
            );
        }
        Ok(Self { public, admin })
    }

    /// Returns the addresses bound, with the real ports.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            public: self.public.local_addr()?,
            admin: self.admin.local_addr()?,
        })
    }
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = format!(
            "cannot listen on {address}: set `{key}` in feria.toml to another address or port, or to port 0 for any free one"
        );
        anyhow::Error::new(error).context(advice)
    })
}

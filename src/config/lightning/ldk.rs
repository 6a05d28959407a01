//! `[lightning.backends.NAME]` with `kind = "ldk"`: a Lightning node inside this one.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::SecretRef;

/// Who tells the node what is on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainSource {
    /// An Esplora server, over HTTP.
    #[default]
    Esplora,
    /// An Electrum server.
    Electrum,
    /// The RPC interface of a bitcoind.
    Bitcoind,
}

/// A Lightning node inside this one. Needs the cargo feature `ldk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LdkConfig {
    /// Who tells it what is on the chain: `esplora`, `electrum` or `bitcoind`. Default `esplora`.
    pub chain: ChainSource,
    /// The address of that: `https://…` of an Esplora, `ssl://host:port` of an Electrum
    /// server, `http://host:port` of a bitcoind. Has no default.
    pub chain_url: String,
    /// The user of the bitcoind. Default empty.
    pub rpc_user: String,
    /// The password of the bitcoind. Default `file:bitcoind.password`.
    pub rpc_password: SecretRef,
    /// Where peers reach it, `address:port`. Default none: it goes to them.
    pub listen: Vec<String>,
}

impl Default for LdkConfig {
    fn default() -> Self {
        Self {
            chain: ChainSource::default(),
            chain_url: String::new(),
            rpc_user: String::new(),
            rpc_password: SecretRef::File(PathBuf::from("bitcoind.password")),
            listen: Vec::new(),
        }
    }
}

impl LdkConfig {
    /// Says which key cannot be used, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let expected: &[&str] = match self.chain {
            ChainSource::Esplora => &["https", "http"],
            ChainSource::Electrum => &["ssl", "tcp"],
            ChainSource::Bitcoind => &["http"],
        };
        let is_fit = Url::parse(&self.chain_url).is_ok_and(|url| {
            expected.contains(&url.scheme())
                && url.host().is_some()
                && (self.chain == ChainSource::Esplora || url.port_or_known_default().is_some())
        });
        if !is_fit {
            let reason = format!("write an address that begins with {}://", expected[0]);
            return Err(("chain_url", reason));
        }
        for address in &self.listen {
            address
                .parse::<SocketAddr>()
                .map_err(|_| ("listen", format!("{address:?} is no address:port")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(chain: ChainSource, url: &str, is_good: bool) {
        let config = LdkConfig {
            chain,
            chain_url: url.to_owned(),
            ..LdkConfig::default()
        };
        assert_eq!(config.check().is_ok(), is_good, "{url}");
    }

    #[test]
    fn each_source_of_the_chain_has_its_form_of_address() {
        check(ChainSource::Esplora, "https://esplora.example/api", true);
        check(ChainSource::Esplora, "", false);
        check(ChainSource::Electrum, "ssl://electrum.example:50002", true);
        check(ChainSource::Electrum, "ssl://electrum.example", false);
        check(ChainSource::Bitcoind, "http://127.0.0.1:8332", true);
        check(ChainSource::Bitcoind, "127.0.0.1:8332", false);
    }
}

//! `[lightning]`: who makes and pays invoices for this node.
//!
//! Backends have names of their own, so that two of one kind can stand beside each
//! other. The keys of a kind are its file in this folder.

mod ldk;
mod lnd;
mod mint;
mod nwc;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use ldk::{ChainSource, LdkConfig};
pub use lnd::LndConfig;
pub use mint::MintBackendConfig;
pub use nwc::NwcConfig;

use super::{ConfigError, source};

/// The longest name of a backend; it is part of account names in the ledger.
const MAX_NAME_CHARS: usize = 32;

/// A Lightning backend, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum BackendConfig {
    /// A Cashu mint: its quotes are invoices, its melts are payments.
    Mint(MintBackendConfig),
    /// A Lightning node inside this one; needs the cargo feature `ldk`.
    Ldk(LdkConfig),
    /// An lnd that somebody else runs, over its REST interface.
    Lnd(LndConfig),
    /// A wallet behind Nostr Wallet Connect (NIP-47).
    Nwc(NwcConfig),
    /// A pretended network inside this process; only on `network = "simulated"`.
    Simulated,
}

/// The Lightning backends, and which does what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LightningConfig {
    /// The backend that makes invoices. Empty, the default: the only one.
    pub receive: String,
    /// The backends that may pay, in this order. Empty, the default: all, by name.
    pub pay: Vec<String>,
    /// The backends by name. Default none: this node sells and buys for ecash alone.
    pub backends: BTreeMap<String, BackendConfig>,
}

impl BackendConfig {
    /// Returns the kind as it is written.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mint(_) => "mint",
            Self::Ldk(_) => "ldk",
            Self::Lnd(_) => "lnd",
            Self::Nwc(_) => "nwc",
            Self::Simulated => "simulated",
        }
    }

    /// Returns whether the money is real; `None` when it is what the node's is.
    pub(super) const fn is_real(&self) -> Option<bool> {
        match self {
            Self::Ldk(_) | Self::Lnd(_) => Some(true),
            // Whose wallet it is, nobody can tell from here.
            Self::Mint(_) | Self::Nwc(_) => None,
            Self::Simulated => Some(false),
        }
    }

    /// Returns one of each kind with its defaults: the list of all kinds and keys.
    pub(super) fn of_each_kind() -> Vec<Self> {
        vec![
            Self::Ldk(LdkConfig::default()),
            Self::Lnd(LndConfig::default()),
            Self::Mint(MintBackendConfig::default()),
            Self::Nwc(NwcConfig::default()),
            Self::Simulated,
        ]
    }

    fn read(
        table: &Table,
        section: &str,
        origin: &dyn Fn(&str) -> String,
    ) -> Result<Self, ConfigError> {
        let kinds = Self::of_each_kind();
        let named = table.get("kind").and_then(Value::as_str);
        let Some(kind) = kinds.iter().find(|kind| Some(kind.kind()) == named) else {
            let key = format!("{section}.kind");
            let all: Vec<&str> = kinds.iter().map(Self::kind).collect();
            return Err(ConfigError::Value {
                origin: origin(&key),
                key,
                reason: format!("write one of: {}", all.join(", ")),
            });
        };
        source::check_section(table, &source::as_table(kind), section, &origin(section))?;
        let backend: Self = source::typed(table, section, origin)?;
        backend.check().map_err(|(key, reason)| {
            let key = format!("{section}.{key}");
            ConfigError::Value {
                origin: origin(&key),
                key,
                reason,
            }
        })?;
        Ok(backend)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        match self {
            Self::Ldk(ldk) => ldk.check(),
            Self::Lnd(lnd) => lnd.check(),
            Self::Mint(_) | Self::Nwc(_) | Self::Simulated => Ok(()),
        }
    }
}

impl LightningConfig {
    /// Reads the section; `origin` tells where a full key came from.
    pub(super) fn read(
        mut table: Table,
        origin: &dyn Fn(&str) -> String,
    ) -> Result<Self, ConfigError> {
        let fault = |key: &str, reason: String| ConfigError::Value {
            origin: origin(key),
            key: key.to_owned(),
            reason,
        };
        let backends = match table.remove("backends") {
            None => Table::new(),
            Some(Value::Table(backends)) => backends,
            Some(_) => {
                let reason = "write each as a section: [lightning.backends.NAME]";
                return Err(fault("lightning.backends", reason.to_owned()));
            }
        };
        let mut config: Self = source::typed(&table, "lightning", origin)?;
        for (name, backend) in backends {
            let key = format!("lightning.backends.{name}");
            if !is_name(&name) {
                let reason = format!("a name has at most {MAX_NAME_CHARS} of a-z, 0-9, - and _");
                return Err(fault(&key, reason));
            }
            let Value::Table(backend) = backend else {
                return Err(fault(&key, format!("write it as a section: [{key}]")));
            };
            let backend = BackendConfig::read(&backend, &key, origin)?;
            config.backends.insert(name, backend);
        }
        config
            .check()
            .map_err(|(key, reason)| fault(&format!("lightning.{key}"), reason))?;
        Ok(config)
    }

    /// Returns the name of the backend that makes invoices.
    #[must_use]
    pub fn receiver(&self) -> Option<&str> {
        if self.receive.is_empty() {
            return self.backends.keys().next().map(String::as_str);
        }
        Some(&self.receive)
    }

    /// Returns the names of the backends that may pay, in order.
    #[must_use]
    pub fn payers(&self) -> Vec<&str> {
        if self.pay.is_empty() {
            return self.backends.keys().map(String::as_str).collect();
        }
        self.pay.iter().map(String::as_str).collect()
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let unknown = |name: &str| {
            format!(
                "there is no backend {name:?}: add [lightning.backends.{name}], or name another"
            )
        };
        // Sections of a file have no order that a reader would rely on.
        if self.receive.is_empty() && self.backends.len() > 1 {
            let names: Vec<&str> = self.backends.keys().map(String::as_str).collect();
            let reason = format!("say which backend makes invoices: {}", names.join(" or "));
            return Err(("receive", reason));
        }
        if !self.receive.is_empty() && !self.backends.contains_key(&self.receive) {
            return Err(("receive", unknown(&self.receive)));
        }
        for (place, name) in self.pay.iter().enumerate() {
            if !self.backends.contains_key(name) {
                return Err(("pay", unknown(name)));
            }
            if self.pay[..place].contains(name) {
                return Err(("pay", format!("{name} stands there twice")));
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_CHARS
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

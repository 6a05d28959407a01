//! What a node is told: `feria.toml`, `relays.toml`, `agents/*.toml`, `policies/*.toml`
//! and variables.
//!
//! A value comes from the variable `FERIA_SECTION__KEY` if that is set, else from
//! the file, else it is the default. Everything is parsed and checked once, at
//! start; the parts get their section by value and none of them reads a file or a
//! variable later. One file here per section; the doc comment of a field is its
//! documentation, and [`SAMPLE`] lists every key (a test compares the two).

mod admin;
mod agent;
mod error;
mod forward;
mod gateway;
mod keys;
mod lightning;
mod mint;
mod policy;
mod pricer;
mod private;
mod proxies;
mod public;
mod relay;
mod route;
mod secret;
mod source;
mod spend;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use admin::AdminConfig;
pub use agent::{AgentConfig, CommitRule};
pub use error::ConfigError;
pub use forward::{ForwardConfig, InjectedValue};
pub use gateway::GatewayConfig;
pub use keys::{ACCESS_SECRET, NodeSeed, PAYWALL_SECRET};
pub use lightning::{
    BackendConfig, ChainSource, LdkConfig, LightningConfig, LndConfig, MintBackendConfig, NwcConfig,
};
pub use mint::MintEntry;
pub use policy::{DEFAULT_POLICY, Names, PolicyConfig, PolicyLimits, SAMPLE_POLICY, ScopedLimits};
pub use pricer::{PriceFallback, PricerConfig};
pub use private::write_private;
pub use proxies::TrustedProxies;
pub use public::PublicConfig;
pub use relay::RelayEntry;
pub use route::{RouteConfig, RouteTerms, SoldRoute, normal_path, pattern};
pub use secret::SecretRef;
pub use source::Environment;
pub use spend::SpendConfig;

/// The file of the main configuration in the data folder.
pub const CONFIG_FILE: &str = "feria.toml";
/// The file of the relays in the data folder.
pub const RELAYS_FILE: &str = "relays.toml";
/// The file with the addresses of the running node, for commands of this machine.
pub const NODE_FILE: &str = "node.json";
/// The file with the token for its API.
pub const TOKEN_FILE: &str = "admin.macaroon";
/// Every key with its default, as `feria init` writes it.
pub const SAMPLE: &str = include_str!("../../feria.sample.toml");
/// The default relays, as `feria init` writes them.
pub const SAMPLE_RELAYS: &str = include_str!("../../relays.toml");

/// Which money this node moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Bitcoin.
    #[default]
    Mainnet,
    /// A private test network.
    Regtest,
    /// Play money: mints and Lightning are pretended inside the process.
    Simulated,
}

impl Network {
    /// Returns the name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Regtest => "regtest",
            Self::Simulated => "simulated",
        }
    }
}

/// Everything a node is told, parsed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which money this node moves. Default `mainnet`.
    pub network: Network,
    /// The folder of all files of the node.
    pub data_dir: PathBuf,
    /// Where the node's seed is kept. Default `file:seed`.
    pub seed: SecretRef,
    /// The listener that the world reaches.
    pub public: PublicConfig,
    /// The listener of the owner.
    pub admin: AdminConfig,
    /// Relays; none when there is no `relays.toml`.
    pub relays: Vec<RelayEntry>,
    /// Mints trusted with money. Default none.
    pub mints: Vec<MintEntry>,
    /// How own agents are sold.
    pub gateway: GatewayConfig,
    /// Limits on what own agents buy.
    pub spend: SpendConfig,
    /// Who makes and pays invoices.
    pub lightning: LightningConfig,
}

impl Config {
    /// Returns the defaults, without relays and mints.
    #[must_use]
    pub fn new(network: Network, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            network,
            data_dir: data_dir.into(),
            seed: SecretRef::File(PathBuf::from("seed")),
            public: PublicConfig::default(),
            admin: AdminConfig::default(),
            relays: Vec::new(),
            mints: Vec::new(),
            gateway: GatewayConfig::default(),
            spend: SpendConfig::default(),
            lightning: LightningConfig::default(),
        }
    }

    /// Reads and checks the configuration in `data_dir`, with `environment` over it.
    ///
    /// # Errors
    /// Names the file or variable and the key, and says what to do.
    pub fn load(data_dir: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let path = data_dir.join(CONFIG_FILE);
        let mut table = source::read_table(&path)?;
        let known = known_keys();
        source::check_keys(&table, &known, &path.display().to_string())?;
        let origins = source::overlay(&mut table, environment, &known)?;
        let config = Reader {
            table,
            origins,
            path,
        }
        .config(data_dir)?;
        config.check_network()?;
        Ok(config)
    }

    /// Refuses pretended parts on a node that moves real money, and the reverse.
    fn check_network(&self) -> Result<(), ConfigError> {
        let plays = self.network == Network::Simulated;
        for (name, backend) in &self.lightning.backends {
            let key = format!("lightning.backends.{name}.kind");
            match (backend.is_real(), plays) {
                (Some(false), false) => {
                    return Err(ConfigError::Simulated {
                        key,
                        network: self.network.as_str(),
                    });
                }
                (Some(true), true) => {
                    return Err(ConfigError::Value {
                        origin: self.data_dir.join(CONFIG_FILE).display().to_string(),
                        key,
                        reason: "it moves real money, and `network` is \"simulated\"".to_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A merged table and where its values came from.
struct Reader {
    table: Table,
    origins: BTreeMap<String, String>,
    path: PathBuf,
}

/// The keys that stand above the sections.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Top {
    network: Network,
    seed: SecretRef,
}

impl Default for Top {
    fn default() -> Self {
        Self {
            network: Network::default(),
            seed: SecretRef::File(PathBuf::from("seed")),
        }
    }
}

type Checked = Result<(), (&'static str, String)>;

impl Reader {
    fn config(mut self, data_dir: &Path) -> Result<Config, ConfigError> {
        let mints = self.mints()?;
        let public: PublicConfig = self.section("public", PublicConfig::check)?;
        let admin = self.section("admin", AdminConfig::check)?;
        let gateway = self.section("gateway", GatewayConfig::check)?;
        let spend = self.section("spend", SpendConfig::check)?;
        let lightning = self.table("lightning")?;
        let lightning = LightningConfig::read(lightning, &|key| self.origin(key))?;
        let top: Top = source::typed(&self.table, "", &|key| self.origin(key))?;
        Ok(Config {
            network: top.network,
            data_dir: data_dir.to_owned(),
            seed: top.seed,
            public,
            admin,
            relays: load_relays(&data_dir.join(RELAYS_FILE))?,
            mints,
            gateway,
            spend,
            lightning,
        })
    }

    /// Takes the section `name` out of the table, reads and checks it.
    fn section<T>(&mut self, name: &str, check: fn(&T) -> Checked) -> Result<T, ConfigError>
    where
        T: serde::de::DeserializeOwned,
    {
        let table = self.table(name)?;
        let section = source::typed(&table, name, &|key| self.origin(key))?;
        check(&section).map_err(|(key, reason)| self.fault(&format!("{name}.{key}"), reason))?;
        Ok(section)
    }

    /// Takes the section `name` out of the table; a missing one is empty.
    fn table(&mut self, name: &str) -> Result<Table, ConfigError> {
        match self.table.remove(name) {
            None => Ok(Table::new()),
            Some(Value::Table(table)) => Ok(table),
            Some(_) => Err(self.fault(name, format!("write it as a section: [{name}]"))),
        }
    }

    fn mints(&mut self) -> Result<Vec<MintEntry>, ConfigError> {
        let Some(value) = self.table.remove("mints") else {
            return Ok(Vec::new());
        };
        let mut mints: Vec<MintEntry> = entries(value, "mints", &|key| self.origin(key))?;
        for mint in &mut mints {
            mint.check()
                .map_err(|(key, reason)| self.fault(&format!("mints.{key}"), reason))?;
            mint.url.truncate(mint.url.trim_end_matches('/').len());
        }
        Ok(mints)
    }

    fn origin(&self, key: &str) -> String {
        self.origins.get(key).map_or_else(
            || self.path.display().to_string(),
            |variable| format!("variable {variable}"),
        )
    }

    fn fault(&self, key: &str, reason: String) -> ConfigError {
        ConfigError::Value {
            origin: self.origin(key),
            key: key.to_owned(),
            reason,
        }
    }
}

/// Reads an array of tables.
fn entries<T: serde::de::DeserializeOwned>(
    value: Value,
    key: &str,
    origin: &dyn Fn(&str) -> String,
) -> Result<Vec<T>, ConfigError> {
    let Value::Array(values) = value else {
        return Err(ConfigError::Value {
            origin: origin(key),
            key: key.to_owned(),
            reason: format!("write each as a table: [[{key}]]"),
        });
    };
    values
        .into_iter()
        .map(|value| match value {
            Value::Table(table) => source::typed(&table, key, origin),
            _ => Err(ConfigError::Value {
                origin: origin(key),
                key: key.to_owned(),
                reason: format!("write each as a table: [[{key}]]"),
            }),
        })
        .collect()
}

/// Reads `relays.toml`; a missing file means no relays.
fn load_relays(path: &Path) -> Result<Vec<RelayEntry>, ConfigError> {
    let origin = path.display().to_string();
    let mut table = match source::read_table(path) {
        Err(ConfigError::Missing { .. }) => return Ok(Vec::new()),
        table => table?,
    };
    let example = RelayEntry {
        url: String::new(),
        read: true,
        write: false,
        inbox: false,
    };
    let known = Table::from_iter([(
        "relays".to_owned(),
        Value::Array(vec![Value::Table(source::as_table(&example))]),
    )]);
    source::check_keys(&table, &known, &origin)?;
    let Some(value) = table.remove("relays") else {
        return Ok(Vec::new());
    };
    let relays: Vec<RelayEntry> = entries(value, "relays", &|_| origin.clone())?;
    for relay in &relays {
        relay.check().map_err(|(key, reason)| ConfigError::Value {
            origin: origin.clone(),
            key: format!("relays.{key}"),
            reason,
        })?;
    }
    Ok(relays)
}

/// Returns a table with every key of `feria.toml`, each with its default.
fn known_keys() -> Table {
    let mint = MintEntry {
        url: String::new(),
        cap: feria_paywall::amount::Sat::ZERO,
    };
    let mut table = source::as_table(&Top::default());
    for (name, section) in [
        ("public", source::as_table(&PublicConfig::default())),
        ("admin", source::as_table(&AdminConfig::default())),
        ("gateway", source::as_table(&GatewayConfig::default())),
        ("spend", source::as_table(&SpendConfig::default())),
        ("lightning", source::as_table(&LightningConfig::default())),
    ] {
        table.insert(name.to_owned(), Value::Table(section));
    }
    let mints = Value::Array(vec![Value::Table(source::as_table(&mint))]);
    table.insert("mints".to_owned(), mints);
    table
}

#[cfg(test)]
mod tests;

//! `agents/<name>.toml`: what this node sells, one file per own agent.

use std::path::{Path, PathBuf};

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::{ConfigError, source, units, write_private};

/// The longest name of an agent.
const MAX_NAME_CHARS: usize = 64;

/// One own agent: an HTTP service with a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// `[a-z0-9_-]`, at most 64; the `d` tag and the path `/a/<name>/`. Default: the file's name.
    #[serde(default)]
    pub name: String,
    /// Where calls are forwarded to, `http://` or `https://`. Required.
    pub upstream: String,
    /// What one payment costs, such as `21sat`. Required.
    #[serde(with = "units::msat")]
    pub price: Msat,
    /// What it does, in a sentence for people and for search. Default empty.
    #[serde(default)]
    pub summary: String,
    /// The capability sold, one word. Default `call`.
    #[serde(default = "default_capability")]
    pub capability: String,
    /// The HTTP method of the priced call. Default `POST`.
    #[serde(default = "default_method")]
    pub method: String,
    /// The path of the priced call, below `/a/<name>`. Default `/`.
    #[serde(default = "default_path")]
    pub path: String,
    /// Words to be found by. Default none.
    #[serde(default)]
    pub topics: Vec<String>,
    /// How it may be paid: `l402`, `nut24`. Default both.
    #[serde(default = "default_rails")]
    pub rails: Vec<String>,
    /// Calls that one Lightning payment buys. Default 1.
    #[serde(default = "default_uses")]
    pub uses: u32,
    /// How long an L402 credential is good, in seconds. Default 3600.
    #[serde(default = "default_valid_secs")]
    pub valid_secs: u64,
    /// When a call counts as delivered: `head`, when the answer begins, or
    /// `body-end`, when its last byte is there. Default `head`.
    #[serde(default)]
    pub commit: CommitRule,
    /// What one Lightning payment of a metered agent buys, such as `500sat`: each
    /// answer then says what it cost, at most `price`. Default `0sat`: not metered.
    #[serde(default, with = "units::msat")]
    pub metered_deposit: Msat,
    /// The header, or with `body-end` the trailer, in which a metered upstream says
    /// the cost in millisatoshi. Default `x-cost-msat`.
    #[serde(default = "default_cost_header")]
    pub cost_header: String,
}

/// When a call counts as delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitRule {
    /// When the answer begins, and a short one when all of it is there.
    #[default]
    Head,
    /// When the last byte of the answer is there.
    BodyEnd,
}

fn default_capability() -> String {
    "call".to_owned()
}

fn default_method() -> String {
    "POST".to_owned()
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_rails() -> Vec<String> {
    vec!["l402".to_owned(), "nut24".to_owned()]
}

fn default_uses() -> u32 {
    1
}

fn default_cost_header() -> String {
    "x-cost-msat".to_owned()
}

fn default_valid_secs() -> u64 {
    3_600
}

impl AgentConfig {
    /// Returns an agent with every default and the three things that have none.
    #[must_use]
    pub fn new(name: &str, upstream: &str, price: Msat) -> Self {
        Self {
            name: name.to_owned(),
            upstream: upstream.to_owned(),
            price,
            summary: String::new(),
            capability: default_capability(),
            method: default_method(),
            path: default_path(),
            topics: Vec::new(),
            rails: default_rails(),
            uses: default_uses(),
            valid_secs: default_valid_secs(),
            commit: CommitRule::default(),
            metered_deposit: Msat::ZERO,
            cost_header: default_cost_header(),
        }
    }

    /// Returns the file of the agent `name`.
    #[must_use]
    pub fn file(data_dir: &Path, name: &str) -> PathBuf {
        folder(data_dir).join(format!("{name}.toml"))
    }

    /// Reads every own agent, by name.
    ///
    /// # Errors
    /// When a file cannot be read or says what cannot be.
    pub fn load_all(data_dir: &Path) -> Result<Vec<Self>, ConfigError> {
        let folder = folder(data_dir);
        let fault = |source| ConfigError::File {
            path: folder.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault(error)),
        };
        let mut agents = Vec::new();
        for entry in entries {
            let path = entry.map_err(fault)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                agents.push(Self::load(&path)?);
            }
        }
        agents.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(agents)
    }

    fn load(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let table = source::read_table(path)?;
        source::check_keys(&table, &known_keys(), &origin)?;
        let mut agent: Self = source::typed(&table, "", &|_| origin.clone())?;
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        if agent.name.is_empty() {
            agent.name = stem.clone().unwrap_or_default();
        }
        let checked = if stem.as_deref() == Some(agent.name.as_str()) {
            agent.check()
        } else {
            Err((
                "name",
                "it must be the file's name without .toml".to_owned(),
            ))
        };
        checked.map_err(|(key, reason)| ConfigError::Value {
            origin,
            key: key.to_owned(),
            reason,
        })?;
        Ok(agent)
    }

    /// Writes this agent's file, replacing an older one.
    ///
    /// # Errors
    /// When a value cannot be used or the file cannot be written.
    pub fn save(&self, data_dir: &Path) -> Result<PathBuf, ConfigError> {
        let path = Self::file(data_dir, &self.name);
        let refused = |key: &str, reason: String| ConfigError::Value {
            origin: path.display().to_string(),
            key: key.to_owned(),
            reason,
        };
        self.check().map_err(|(key, reason)| refused(key, reason))?;
        let text = toml::to_string_pretty(self).map_err(|error| refused("", error.to_string()))?;
        // An upstream's URL may carry a password.
        write_private(&path, &text).map_err(|source| ConfigError::File {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Checks the values; names the key at fault and says what would be right.
    ///
    /// # Errors
    /// The key and the reason.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= MAX_NAME_CHARS
                && text.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
                })
        };
        if !word(&self.name) {
            return Err((
                "name",
                "use 1 to 64 characters of a-z, 0-9, - and _".to_owned(),
            ));
        }
        if !word(&self.capability) {
            return Err((
                "capability",
                "use 1 to 64 characters of a-z, 0-9, - and _".to_owned(),
            ));
        }
        match url::Url::parse(&self.upstream) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {}
            _ => return Err(("upstream", "write an http:// or https:// URL".to_owned())),
        }
        if self.price == Msat::ZERO {
            return Err(("price", "a price is above 0, such as \"21sat\"".to_owned()));
        }
        if !self.path.starts_with('/') {
            return Err(("path", "a path starts with a slash".to_owned()));
        }
        if http::Method::from_bytes(self.method.as_bytes()).is_err() {
            return Err(("method", "write an HTTP method, such as POST".to_owned()));
        }
        if self.rails.is_empty()
            || self
                .rails
                .iter()
                .any(|rail| rail != "l402" && rail != "nut24")
        {
            return Err(("rails", "choose from \"l402\" and \"nut24\"".to_owned()));
        }
        if self.metered_deposit != Msat::ZERO && self.metered_deposit < self.price {
            let reason = "a deposit pays for at least one call: at least the price, or 0sat";
            return Err(("metered_deposit", reason.to_owned()));
        }
        if self.metered_deposit != Msat::ZERO && self.uses != 1 {
            let reason = "a metered payment buys what its deposit covers: leave uses out";
            return Err(("uses", reason.to_owned()));
        }
        if http::HeaderName::from_bytes(self.cost_header.as_bytes()).is_err() {
            return Err(("cost_header", "write the name of an HTTP header".to_owned()));
        }
        if self.uses == 0 || self.valid_secs == 0 {
            return Err(("uses", "uses and valid_secs are above 0".to_owned()));
        }
        Ok(())
    }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("agents")
}

fn known_keys() -> toml::Table {
    source::as_table(&AgentConfig::new("", "", Msat::ZERO))
}

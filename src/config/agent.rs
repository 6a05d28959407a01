//! `agents/<name>.toml`: what this node sells, one file per own agent.

use std::path::{Path, PathBuf};

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::{
    ConfigError, ForwardConfig, PricerConfig, RouteConfig, route, source, units, write_private,
};

/// The longest name of an agent.
const MAX_NAME_CHARS: usize = 64;
/// What [`is_word`] asks for.
pub(super) const WORD_RULE: &str = "use 1 to 64 characters of a-z, 0-9, - and _";
/// What [`are_rails`] asks for.
pub(super) const RAILS_RULE: &str = "choose from \"l402\" and \"nut24\"";

/// One own agent: an HTTP service with a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// `[a-z0-9_-]`, at most 64; the `d` tag and the path `/a/<name>/`. Default: the file's name.
    #[serde(default)]
    pub name: String,
    /// Where calls are forwarded to: `http://`, `https://`, or `h2c://` for HTTP/2
    /// without TLS. Required.
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
    /// Calls that one Lightning payment buys; 0 is any number within `valid_secs`.
    /// Default 1.
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
    /// Whether calls are let through and only counted: nothing is taken, and the
    /// response says what it would have cost. Default false.
    #[serde(default)]
    pub shadow: bool,
    /// Calls that each client (an address, of IPv6 its /64) has free in a window.
    /// They are counted in memory: a restart gives them again. Default 0.
    #[serde(default)]
    pub trial_calls: u32,
    /// How long that window is, from a client's first free call, in seconds. Default 86400.
    #[serde(default = "default_trial_window_secs")]
    pub trial_window_secs: u64,
    /// Who is asked for the price; `price` is what is listed. Default nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricer: Option<PricerConfig>,
    /// Further paths, each at its own price. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
    /// How calls reach the upstream; its keys stand beside these.
    #[serde(flatten)]
    pub forward: ForwardConfig,
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

const fn default_trial_window_secs() -> u64 {
    86_400
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
            shadow: false,
            trial_calls: 0,
            trial_window_secs: default_trial_window_secs(),
            pricer: None,
            routes: Vec::new(),
            forward: ForwardConfig::default(),
        }
    }

    /// Returns the upstream's address as `http://` or `https://`, and whether it is
    /// spoken to in HTTP/2; `None` if it is no address.
    #[must_use]
    pub fn upstream_url(&self) -> Option<(url::Url, bool)> {
        let (text, is_h2c) = match self.upstream.strip_prefix("h2c://") {
            Some(rest) => (format!("http://{rest}"), true),
            None => (self.upstream.clone(), false),
        };
        let parsed = url::Url::parse(&text).ok()?;
        let is_known = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
        is_known.then_some((parsed, is_h2c || self.forward.http2))
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
        if !is_word(&self.name) {
            return Err(("name", WORD_RULE.to_owned()));
        }
        if self.upstream_url().is_none() {
            return Err((
                "upstream",
                "write an http://, https:// or h2c:// URL".to_owned(),
            ));
        }
        if http::HeaderName::from_bytes(self.cost_header.as_bytes()).is_err() {
            return Err(("cost_header", "write the name of an HTTP header".to_owned()));
        }
        self.forward.check()?;
        route::check(self)
    }
}

/// Returns whether `text` can name an agent or a capability.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_CHARS
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

/// Returns whether `rails` are ways to pay, and at least one.
pub(super) fn are_rails(rails: &[String]) -> bool {
    !rails.is_empty() && rails.iter().all(|rail| rail == "l402" || rail == "nut24")
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("agents")
}

/// Returns a table with every key of an agent's file; what may be missing is there.
pub(super) fn known_keys() -> toml::Table {
    let pricer = PricerConfig::new("");
    source::as_table(&AgentConfig {
        pricer: Some(pricer.clone()),
        routes: vec![RouteConfig {
            methods: default_rails(),
            price: Some(Msat::ZERO),
            capability: Some(String::new()),
            uses: Some(0),
            valid_secs: Some(0),
            commit: Some(CommitRule::Head),
            metered_deposit: Some(Msat::ZERO),
            rails: default_rails(),
            shadow: Some(false),
            trial_calls: Some(0),
            trial_window_secs: Some(0),
            pricer: Some(pricer),
            ..RouteConfig::default()
        }],
        ..AgentConfig::new("", "", Msat::ZERO)
    })
}

//! `policies/<name>.toml`: what the wallets of an agent may spend, on what and how fast.
//!
//! The file is named after the agent; `default.toml` is for every agent without a
//! file of its own, and `treasury.toml` for what the node itself buys. An agent's
//! file replaces the default as a whole. No file at all leaves the limits of the
//! wallet and of `[spend]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::agent::{WORD_RULE, is_word};
use super::{ConfigError, source, units};

/// The name of the policy of agents without one of their own.
pub const DEFAULT_POLICY: &str = "default";
/// Every key of a policy, as documentation.
pub const SAMPLE_POLICY: &str = include_str!("../../policy.sample.toml");

const FOLDER: &str = "policies";
/// The rails that a policy can name.
const RAILS: [&str; 2] = ["cashu", "lightning"];
/// Names in one list, and limits of one file.
const MAX_NAMES: usize = 500;
const MAX_LIMITS: usize = 100;
const MAX_NAME_CHARS: usize = 200;
const MAX_CALLS_PER_MINUTE: u32 = 100_000;
/// The shortest and the longest time that a held purchase may wait, in seconds.
const APPROVAL_SECS: std::ops::RangeInclusive<u64> = 60..=30 * 24 * 3_600;

type Checked = Result<(), (String, String)>;

/// What the wallets of an agent may spend; what is left out sets no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyConfig {
    /// Limits over everything the agent buys; its keys stand beside these.
    #[serde(flatten)]
    pub limits: PolicyLimits,
    /// How long a held purchase waits for a person, and how long an approval is
    /// good, in seconds. Default 3600.
    pub approval_secs: u64,
    /// Hosts that may be called: `api.example`, or `*.example` for all below it.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub hosts: Names,
    /// Sellers that may be paid: public keys in hexadecimal, as `feria search` shows them.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub sellers: Names,
    /// Capabilities that may be bought, as listings name them.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub capabilities: Names,
    /// Rails that may be paid on: `cashu`, `lightning`.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub rails: Names,
    /// Further limits, each for one host, seller, capability or rail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<ScopedLimits>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            limits: PolicyLimits::default(),
            approval_secs: 3_600,
            hosts: Names::default(),
            sellers: Names::default(),
            capabilities: Names::default(),
            rails: Names::default(),
            only: Vec::new(),
        }
    }
}

/// Limits, price and fees together; `None` sets none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyLimits {
    /// The most one call may cost.
    #[serde(with = "units::msat_option", skip_serializing_if = "Option::is_none")]
    pub per_call: Option<Msat>,
    /// The most of any 60 minutes.
    #[serde(with = "units::msat_option", skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Msat>,
    /// The most of any 24 hours.
    #[serde(with = "units::msat_option", skip_serializing_if = "Option::is_none")]
    pub daily: Option<Msat>,
    /// The most ever.
    #[serde(with = "units::msat_option", skip_serializing_if = "Option::is_none")]
    pub total: Option<Msat>,
    /// Paid calls in any 60 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_minute: Option<u32>,
    /// A call that costs more is held until a person agrees.
    #[serde(with = "units::msat_option", skip_serializing_if = "Option::is_none")]
    pub approve_above: Option<Msat>,
}

/// Which names are let through: none of `deny`, and of `allow` if it names any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// The only ones; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Never these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// Limits for one host, seller, capability or rail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopedLimits {
    /// For this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For this seller: a public key in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller: Option<String>,
    /// For this capability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// For this rail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rail: Option<String>,
    /// Its keys stand beside these.
    #[serde(flatten)]
    pub limits: PolicyLimits,
}

impl Names {
    /// Returns whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

impl PolicyConfig {
    /// Reads every policy of the data folder, by name.
    ///
    /// # Errors
    /// When a file cannot be read or says what cannot be.
    pub fn load_all(data_dir: &Path) -> Result<BTreeMap<String, Self>, ConfigError> {
        let folder = data_dir.join(FOLDER);
        let fault = |source| ConfigError::File {
            path: folder.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(fault(error)),
        };
        let mut policies = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !is_word(&name) {
                return Err(ConfigError::Value {
                    origin: path.display().to_string(),
                    key: "the file's name".to_owned(),
                    reason: format!("it is the agent's; {WORD_RULE}"),
                });
            }
            policies.insert(name.into_owned(), Self::load(&path)?);
        }
        Ok(policies)
    }

    /// Reads the policy at `path`.
    ///
    /// # Errors
    /// When it cannot be read or says what cannot be.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::of_table(&source::read_table(path)?, &path.display().to_string())
    }

    /// Reads a policy from text; `origin` names it in errors.
    ///
    /// # Errors
    /// When it says what cannot be.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: PathBuf::from(origin),
                reason: error.message().to_owned(),
            })?;
        Self::of_table(&table, origin)
    }

    fn of_table(table: &Table, origin: &str) -> Result<Self, ConfigError> {
        source::check_keys(table, &known_keys(), origin)?;
        let mut policy: Self = source::typed(table, "", &|_| origin.to_owned())?;
        policy.unify();
        policy.check().map_err(|(key, reason)| ConfigError::Value {
            origin: origin.to_owned(),
            key,
            reason,
        })?;
        Ok(policy)
    }

    /// Returns the file of the policy `name`.
    #[must_use]
    pub fn file(data_dir: &Path, name: &str) -> PathBuf {
        data_dir.join(FOLDER).join(format!("{name}.toml"))
    }

    /// Hosts and keys have one spelling.
    fn unify(&mut self) {
        for names in [&mut self.hosts, &mut self.sellers, &mut self.rails] {
            for name in names.allow.iter_mut().chain(&mut names.deny) {
                name.make_ascii_lowercase();
            }
        }
        for limits in &mut self.only {
            for name in [&mut limits.host, &mut limits.seller, &mut limits.rail] {
                name.iter_mut().for_each(|name| name.make_ascii_lowercase());
            }
        }
    }

    fn check(&self) -> Checked {
        self.limits.check("")?;
        if !APPROVAL_SECS.contains(&self.approval_secs) {
            return Err((
                "approval_secs".to_owned(),
                "write 60 (a minute) to 2592000 (30 days)".to_owned(),
            ));
        }
        for (key, names) in [
            ("hosts", &self.hosts),
            ("sellers", &self.sellers),
            ("capabilities", &self.capabilities),
            ("rails", &self.rails),
        ] {
            names.check(key)?;
        }
        if self.only.len() > MAX_LIMITS {
            return Err(("only".to_owned(), format!("more than {MAX_LIMITS}")));
        }
        let mut seen = BTreeSet::new();
        for limits in &self.only {
            let (key, name) = limits.check()?;
            if !seen.insert((key, name)) {
                return Err((format!("only.{key}"), format!("{name} stands there twice")));
            }
        }
        Ok(())
    }
}

impl PolicyLimits {
    fn check(&self, prefix: &str) -> Checked {
        for (key, amount) in [
            ("per_call", self.per_call),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("total", self.total),
        ] {
            if amount == Some(Msat::ZERO) {
                return Err((
                    format!("{prefix}{key}"),
                    "write an amount above 0; what is not to be paid at all stands under `deny`"
                        .to_owned(),
                ));
            }
        }
        match self.calls_per_minute {
            Some(calls) if calls == 0 || calls > MAX_CALLS_PER_MINUTE => Err((
                format!("{prefix}calls_per_minute"),
                format!("write 1 to {MAX_CALLS_PER_MINUTE}"),
            )),
            _ => Ok(()),
        }
    }

    const fn is_empty(&self) -> bool {
        self.per_call.is_none()
            && self.hourly.is_none()
            && self.daily.is_none()
            && self.total.is_none()
            && self.calls_per_minute.is_none()
            && self.approve_above.is_none()
    }
}

impl Names {
    fn check(&self, key: &str) -> Checked {
        for (list, names) in [("allow", &self.allow), ("deny", &self.deny)] {
            let path = format!("{key}.{list}");
            if names.len() > MAX_NAMES {
                return Err((path, format!("more than {MAX_NAMES} names")));
            }
            for name in names {
                let bare = name.strip_prefix("*.").filter(|_| key == "hosts");
                check_name(key, bare.unwrap_or(name)).map_err(|reason| (path.clone(), reason))?;
            }
        }
        match self.allow.iter().find(|name| self.deny.contains(name)) {
            Some(name) => Err((
                format!("{key}.deny"),
                format!("{name:?} is allowed and denied"),
            )),
            None => Ok(()),
        }
    }
}

impl ScopedLimits {
    /// Returns what it is for: the key and the name.
    fn check(&self) -> Result<(&'static str, &str), (String, String)> {
        let named: Vec<(&'static str, &str)> = [
            ("host", &self.host),
            ("seller", &self.seller),
            ("capability", &self.capability),
            ("rail", &self.rail),
        ]
        .into_iter()
        .filter_map(|(key, name)| Some((key, name.as_deref()?)))
        .collect();
        let &[(key, name)] = named.as_slice() else {
            return Err((
                "only".to_owned(),
                "each names one of host, seller, capability and rail".to_owned(),
            ));
        };
        let list = match key {
            "host" => "hosts",
            "seller" => "sellers",
            "capability" => "capabilities",
            _ => "rails",
        };
        check_name(list, name).map_err(|reason| (format!("only.{key}"), reason))?;
        self.limits.check("only.")?;
        if self.limits.is_empty() {
            return Err((
                "only".to_owned(),
                format!("the one for {key} {name} sets no limit"),
            ));
        }
        Ok((key, name))
    }
}

/// Checks a name of the list `key`; says what would be right.
fn check_name(key: &str, name: &str) -> Result<(), String> {
    let is_printable = !name.is_empty()
        && name.len() <= MAX_NAME_CHARS
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let is_right = is_printable
        && match key {
            "hosts" => {
                !name.contains('*')
                    && url::Host::parse(name).is_ok_and(|host| host.to_string() == name)
            }
            "sellers" => name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "rails" => RAILS.contains(&name),
            _ => true,
        };
    if is_right {
        return Ok(());
    }
    Err(match key {
        "hosts" => format!("{name:?} is no host name; write it without scheme, port and path"),
        "sellers" => format!("{name:?} is no public key of 64 hexadecimal characters"),
        "rails" => format!("{name:?} is no rail; choose \"cashu\" or \"lightning\""),
        _ => format!("{name:?} is no name of 1 to {MAX_NAME_CHARS} characters"),
    })
}

/// Returns a table with every key of a policy; what may be missing is there.
fn known_keys() -> Table {
    let names = || Names {
        allow: vec![String::new()],
        deny: vec![String::new()],
    };
    let limits = PolicyLimits {
        per_call: Some(Msat::ZERO),
        hourly: Some(Msat::ZERO),
        daily: Some(Msat::ZERO),
        total: Some(Msat::ZERO),
        calls_per_minute: Some(0),
        approve_above: Some(Msat::ZERO),
    };
    let mut known = source::as_table(&PolicyConfig {
        limits,
        hosts: names(),
        sellers: names(),
        capabilities: names(),
        rails: names(),
        ..PolicyConfig::default()
    });
    let only = ScopedLimits {
        host: Some(String::new()),
        seller: Some(String::new()),
        capability: Some(String::new()),
        rail: Some(String::new()),
        limits,
    };
    let only = Value::Array(vec![Value::Table(source::as_table(&only))]);
    known.insert("only".to_owned(), only);
    known
}

#[cfg(test)]
mod tests;

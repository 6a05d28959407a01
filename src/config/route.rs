//! `[[routes]]` of an agent's file: further paths, each at its own price.
//!
//! The agent's own `path`, `method` and `price` are its first route; what an entry
//! leaves out is the agent's. A pattern is one of matchit: `{name}` stands for one
//! segment, `{*rest}` at the end for all that follow. Of two patterns that fit, the
//! more exact one counts, and its methods alone.
//!
//! A credential is good for a capability, so two prices under one capability are
//! refused here: the cheap credential would open the dear route.
//!
//! <https://docs.rs/matchit>

use std::borrow::Cow;
use std::collections::BTreeMap;

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::agent::{self, AgentConfig};
use super::{Checked, CommitRule, PricerConfig, units};

/// Most entries of one agent; readers of listings take a hundred offers.
const MAX_ROUTES: usize = 99;
/// Longest pattern, in bytes.
const MAX_PATH_BYTES: usize = 512;
/// Longest window of free trial calls: a year.
const MAX_TRIAL_WINDOW_SECS: u64 = 366 * 86_400;

/// One further path of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfig {
    /// Pattern below `/a/<name>`, such as `/v1/models/{name}` or `/v1/chat/{*rest}`. Required.
    pub path: String,
    /// HTTP methods. Default the agent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What one payment costs. Default the agent's.
    #[serde(
        default,
        with = "units::msat_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub price: Option<Msat>,
    /// The capability sold, one word; two prices need two. Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Calls that one Lightning payment buys; 0 is any number within `valid_secs`.
    /// Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How long an L402 credential is good, in seconds. Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_secs: Option<u64>,
    /// When a call counts as delivered. Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitRule>,
    /// What one Lightning payment buys where calls are metered. Default the agent's.
    #[serde(
        default,
        with = "units::msat_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub metered_deposit: Option<Msat>,
    /// How it may be paid: `l402`, `nut24`. Default the agent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rails: Vec<String>,
    /// Whether it passes without payment. Default false.
    #[serde(default)]
    pub free: bool,
    /// Whether it is let through and only counted. Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<bool>,
    /// Free calls of each client in a window. Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_calls: Option<u32>,
    /// How long that window is, in seconds. Default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_window_secs: Option<u64>,
    /// Who is asked for the price. Default the agent's, unless `price` stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricer: Option<PricerConfig>,
}

/// One path of an agent, with all defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoldRoute {
    /// The pattern below `/a/<name>`.
    pub path: String,
    /// HTTP methods, upper case; never empty.
    pub methods: Vec<String>,
    /// What it is sold for; `None` when it is free.
    pub terms: Option<RouteTerms>,
}

/// What a path is sold for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTerms {
    /// What one payment costs; with a pricer, what is listed.
    pub price: Msat,
    /// What a credential is good for.
    pub capability: String,
    /// Calls that one Lightning payment buys; 0 is any number within `valid_secs`.
    pub uses: u32,
    /// How long a credential is good, in seconds.
    pub valid_secs: u64,
    /// When a call counts as delivered.
    pub commit: CommitRule,
    /// What one Lightning payment buys; 0 where calls are not metered.
    pub metered_deposit: Msat,
    /// How it may be paid.
    pub rails: Vec<String>,
    /// Whether calls are let through and only counted.
    pub is_shadow: bool,
    /// Free calls of each client in a window; 0 for none.
    pub trial_calls: u32,
    /// How long that window is, in seconds.
    pub trial_window_secs: u64,
    /// Who is asked for the price.
    pub pricer: Option<PricerConfig>,
}

impl AgentConfig {
    /// Returns everything this agent answers to, its own path first.
    #[must_use]
    pub fn sold(&self) -> Vec<SoldRoute> {
        let own = SoldRoute {
            path: self.path.clone(),
            methods: vec![self.method.to_ascii_uppercase()],
            terms: Some(self.terms()),
        };
        let further = self.routes.iter().map(|route| route.sold(self));
        std::iter::once(own).chain(further).collect()
    }

    fn terms(&self) -> RouteTerms {
        RouteTerms {
            price: self.price,
            capability: self.capability.clone(),
            uses: self.uses,
            valid_secs: self.valid_secs,
            commit: self.commit,
            metered_deposit: self.metered_deposit,
            rails: self.rails.clone(),
            is_shadow: self.shadow,
            trial_calls: self.trial_calls,
            trial_window_secs: self.trial_window_secs,
            pricer: self.pricer.clone(),
        }
    }
}

impl RouteConfig {
    fn sold(&self, agent: &AgentConfig) -> SoldRoute {
        let default = agent.terms();
        let methods = if self.methods.is_empty() {
            std::slice::from_ref(&agent.method)
        } else {
            &self.methods
        };
        // A price of its own is meant: the agent's pricer would overrule it.
        let inherited = default.pricer.filter(|_| self.price.is_none());
        let terms = RouteTerms {
            price: self.price.unwrap_or(default.price),
            capability: self.capability.clone().unwrap_or(default.capability),
            uses: self.uses.unwrap_or(default.uses),
            valid_secs: self.valid_secs.unwrap_or(default.valid_secs),
            commit: self.commit.unwrap_or(default.commit),
            metered_deposit: self.metered_deposit.unwrap_or(default.metered_deposit),
            rails: if self.rails.is_empty() {
                default.rails
            } else {
                self.rails.clone()
            },
            is_shadow: self.shadow.unwrap_or(default.is_shadow),
            trial_calls: self.trial_calls.unwrap_or(default.trial_calls),
            trial_window_secs: self.trial_window_secs.unwrap_or(default.trial_window_secs),
            pricer: self.pricer.clone().or(inherited),
        };
        SoldRoute {
            path: self.path.clone(),
            methods: methods
                .iter()
                .map(|method| method.to_ascii_uppercase())
                .collect(),
            terms: (!self.free).then_some(terms),
        }
    }

    /// A free route with terms is more likely a slip than a wish.
    fn check_free(&self) -> Checked {
        let bare = Self {
            path: self.path.clone(),
            methods: self.methods.clone(),
            free: true,
            ..Self::default()
        };
        if self.free && *self != bare {
            return Err((
                "routes.free",
                format!("{} is free: leave out what it would be sold for", self.path),
            ));
        }
        Ok(())
    }
}

/// Checks all routes of `agent`, its own among them, alone and against each other.
pub(super) fn check(agent: &AgentConfig) -> Checked {
    if agent.routes.len() > MAX_ROUTES {
        return Err(("routes", format!("at most {MAX_ROUTES} can be sold")));
    }
    for route in &agent.routes {
        route.check_free()?;
    }
    let sold = agent.sold();
    for (place, route) in sold.iter().enumerate() {
        // The agent's own values have keys without a prefix.
        let key = |own, further| if place == 0 { own } else { further };
        check_path(&route.path).map_err(|reason| (key("path", "routes.path"), reason))?;
        if !route.methods.iter().all(|method| is_method(method)) {
            let reason = "write HTTP methods, such as POST".to_owned();
            return Err((key("method", "routes.methods"), reason));
        }
        if let Some(terms) = &route.terms {
            terms.check(&key)?;
        }
    }
    check_patterns(&sold)?;
    check_capabilities(&sold)
}

impl RouteTerms {
    fn check(&self, key: &dyn Fn(&'static str, &'static str) -> &'static str) -> Checked {
        if self.price == Msat::ZERO {
            let reason = "a price is above 0, such as \"21sat\"".to_owned();
            return Err((key("price", "routes.price"), reason));
        }
        if !agent::is_word(&self.capability) {
            let reason = agent::WORD_RULE.to_owned();
            return Err((key("capability", "routes.capability"), reason));
        }
        if !agent::are_rails(&self.rails) {
            let reason = agent::RAILS_RULE.to_owned();
            return Err((key("rails", "routes.rails"), reason));
        }
        if self.metered_deposit != Msat::ZERO && self.metered_deposit < self.price {
            let reason = "a deposit pays for at least one call: at least the price, or 0sat";
            return Err((
                key("metered_deposit", "routes.metered_deposit"),
                reason.to_owned(),
            ));
        }
        if self.metered_deposit != Msat::ZERO && self.uses != 1 {
            let reason = "a metered payment buys what its deposit covers: leave uses out";
            return Err((key("uses", "routes.uses"), reason.to_owned()));
        }
        if self.valid_secs == 0 {
            let reason = "valid_secs is above 0".to_owned();
            return Err((key("valid_secs", "routes.valid_secs"), reason));
        }
        if self.trial_window_secs == 0 || self.trial_window_secs > MAX_TRIAL_WINDOW_SECS {
            let reason = format!("write 1 to {MAX_TRIAL_WINDOW_SECS} seconds");
            return Err((key("trial_window_secs", "routes.trial_window_secs"), reason));
        }
        self.pricer.as_ref().map_or(Ok(()), |pricer| {
            pricer
                .check()
                .map_err(|reason| (key("pricer", "routes.pricer"), reason))
        })
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("a path starts with a slash".to_owned());
    }
    let literal = path.replace(['{', '}'], "");
    if path.len() > MAX_PATH_BYTES || path.contains("{{") || normal_path(&literal).is_none() {
        return Err(format!(
            "write a path of at most {MAX_PATH_BYTES} characters of a URL, without empty and \
             dot segments, and encode only what must be"
        ));
    }
    Ok(())
}

fn is_method(method: &str) -> bool {
    http::Method::from_bytes(method.as_bytes()).is_ok()
}

/// Each method of a pattern is sold once, and no two patterns differ in names alone.
fn check_patterns(sold: &[SoldRoute]) -> Checked {
    let mut methods: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut patterns = matchit::Router::new();
    for route in sold {
        let path = pattern(&route.path);
        let known = methods.entry(path.clone()).or_default();
        if known.is_empty() {
            patterns
                .insert(path.as_str(), ())
                .map_err(|error| ("routes.path", format!("{path}: {error}")))?;
        }
        for method in &route.methods {
            if known.contains(&method.as_str()) {
                let reason = format!("{method} {path} stands there twice");
                return Err(("routes.path", reason));
            }
            known.push(method);
        }
    }
    Ok(())
}

/// A credential opens every route of its capability, so they cost the same. What a
/// pricer prices is bound to its request and cannot be mixed up.
fn check_capabilities(sold: &[SoldRoute]) -> Checked {
    let mut known: BTreeMap<&str, &RouteTerms> = BTreeMap::new();
    let fixed = sold
        .iter()
        .filter_map(|route| route.terms.as_ref().map(|terms| (route, terms)))
        .filter(|(_, terms)| terms.pricer.is_none());
    for (route, terms) in fixed {
        let first = known.entry(&terms.capability).or_insert(terms);
        let buys = |terms: &RouteTerms| {
            let deposit = terms.metered_deposit;
            (terms.price, terms.uses, terms.valid_secs, deposit)
        };
        if buys(first) != buys(terms) {
            return Err((
                "routes.capability",
                format!(
                    "{} sells `{}` at other terms than another route: give it a capability of \
                     its own, or the cheaper credential would open both",
                    route.path, terms.capability
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the pattern that `path` is matched by: like a path in its normal form.
#[must_use]
pub fn pattern(path: &str) -> String {
    upper_case_codes(trimmed(path)).into_owned()
}

/// Returns `path` in the one form that it is matched in: without its last slash,
/// codes in upper case. `None` when it could mean another path once somebody decodes
/// or normalises it (dot segments, empty segments, backslashes, codes for them or
/// for what needs none), for it would be priced as one and served as the other.
#[must_use]
pub fn normal_path(path: &str) -> Option<Cow<'_, str>> {
    let is_tricky = path.contains("..")
        || path.contains("//")
        || path
            .split('/')
            .any(|part| part == "." || part.starts_with(".;"));
    let path = trimmed(path);
    if is_tricky || !path.starts_with('/') {
        return None;
    }
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = if *byte == b'%' {
            let code: u8 = rest.get(1..3).and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                digits
                    .bytes()
                    .all(|digit| digit.is_ascii_hexdigit())
                    .then_some(())?;
                u8::from_str_radix(digits, 16).ok()
            })?;
            if is_plain(code) || matches!(code, b'/' | b'\\' | 0) {
                return None;
            }
            &rest[3..]
        } else if is_plain(*byte) || *byte == b'/' {
            after
        } else {
            return None;
        };
    }
    Some(upper_case_codes(path))
}

/// Returns whether a path may hold `byte` as it is (`pchar` of RFC 3986).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// Returns `path` without its last slash, but never empty.
fn trimmed(path: &str) -> &str {
    match path.strip_suffix('/').unwrap_or(path) {
        "" => "/",
        path => path,
    }
}

/// Writes every `%c3` as `%C3`.
fn upper_case_codes(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut parts = path.split('%');
    let mut upper = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        upper.push('%');
        upper.push_str(&code.to_ascii_uppercase());
        upper.push_str(rest);
    }
    Cow::Owned(upper)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        assert_eq!(normal_path(path).as_deref(), expected, "{path}");
    }

    #[test]
    fn a_path_has_one_form() {
        check("", Some("/"));
        check("/", Some("/"));
        check("/v1/x/", Some("/v1/x"));
        check("/v1/gpt-4:latest@2", Some("/v1/gpt-4:latest@2"));
        check("/caf%c3%a9/%20", Some("/caf%C3%A9/%20"));
    }

    #[test]
    fn what_could_mean_another_path_has_none() {
        for path in [
            "/a/../b",
            "/a/..",
            "/..",
            "/a/./b",
            "/a/.",
            "/a/..;/b",
            "/a/.;x/b",
            "//a",
            "/a//b",
            "/a//",
            "/a\\b",
            "/a/%2e%2E/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%00",
            "/%78",
            "/a%3ab",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%+1",
            "/é",
            "/a b",
            "/{x}",
            "/a\"b",
            "x",
        ] {
            check(path, None);
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(path in "(/[a-z.%0-9A-F;é\\\\]{0,6}){0,4}/?") {
            if let Some(normal) = normal_path(&path) {
                prop_assert_eq!(normal_path(&normal), Some(normal.clone()));
                prop_assert!(!normal.contains("..") && !normal.contains("//"));
            }
        }
    }
}

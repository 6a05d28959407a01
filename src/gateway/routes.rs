//! Which request of which agent is sold, where it goes and on what terms.
//!
//! An agent sells one path and one method. Everything else below its name is
//! answered 404, so that nothing is free by accident.

use std::collections::HashMap;
use std::sync::Arc;

use feria_paywall::amount::Msat;
use feria_paywall::price::{CommitAt, EcashTerms, Metered, Pricing, Terms};
use http::request::Parts;
use http::{HeaderName, Method, Uri};
use parking_lot::RwLock;
use url::Url;

use super::{Core, GatewayError};
use crate::config::{AgentConfig, CommitRule};

/// One priced endpoint.
#[derive(Debug)]
pub(super) struct Route {
    agent: AgentConfig,
    method: Method,
    upstream: Url,
    metered: Option<Metered>,
}

/// Put into a request's extensions once it has been matched.
#[derive(Debug, Clone)]
pub(super) struct Matched(pub(super) Arc<Route>);

/// The routes of all own agents; replaced as a whole.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_agent: RwLock<Arc<HashMap<String, Arc<Route>>>>,
    /// The `naddr` of each agent's listing.
    listings: RwLock<HashMap<String, String>>,
}

impl Routes {
    /// Replaces all routes, or none if one of them cannot be.
    pub(super) fn replace(&self, agents: Vec<AgentConfig>) -> Result<(), GatewayError> {
        let routes = agents
            .into_iter()
            .map(|agent| Ok((agent.name.clone(), Arc::new(Route::new(agent)?))))
            .collect::<Result<HashMap<_, _>, GatewayError>>()?;
        *self.by_agent.write() = Arc::new(routes);
        Ok(())
    }

    pub(super) fn set_listing(&self, agent: &str, naddr: &str) {
        self.listings
            .write()
            .insert(agent.to_owned(), naddr.to_owned());
    }

    /// Returns the route of `agent`, whatever the request.
    pub(super) fn of(&self, agent: &str) -> Option<Arc<Route>> {
        self.by_agent.read().get(agent).cloned()
    }

    /// Returns the route that sells this request. `HEAD` asks for the price of any method.
    pub(super) fn find(&self, agent: &str, method: &Method, uri: &Uri) -> Option<Arc<Route>> {
        let route = Arc::clone(self.by_agent.read().get(agent)?);
        let path = uri.path();
        let below = path
            .strip_prefix("/a/")
            .and_then(|rest| rest.strip_prefix(agent))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .unwrap_or(path);
        let is_path = trimmed(below) == trimmed(&route.agent.path);
        let is_method = *method == route.method || *method == Method::HEAD;
        (is_path && is_method).then_some(route)
    }
}

impl Route {
    fn new(agent: AgentConfig) -> Result<Self, GatewayError> {
        let invalid = |what| GatewayError::Agent {
            agent: agent.name.clone(),
            what,
        };
        let mut upstream: Url = agent.upstream.parse().map_err(|_| invalid("upstream"))?;
        if !matches!(upstream.scheme(), "http" | "https") || upstream.host().is_none() {
            return Err(invalid("upstream"));
        }
        let below = trimmed(&agent.path);
        if !below.is_empty() {
            let path = format!("{}{below}", upstream.path().trim_end_matches('/'));
            upstream.set_path(&path);
        }
        let method = agent
            .method
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| invalid("method"))?;
        // The name stands in macaroon caveats, where these would mean something.
        if agent.name.is_empty() || agent.name.contains([',', ':', '=', '/']) {
            return Err(invalid("name"));
        }
        let cost_header =
            HeaderName::try_from(agent.cost_header.as_str()).map_err(|_| invalid("cost_header"))?;
        let metered = (agent.metered_deposit > Msat::ZERO).then_some(Metered {
            deposit: agent.metered_deposit,
            cost_header,
        });
        Ok(Self {
            method,
            upstream,
            metered,
            agent,
        })
    }

    /// Returns where a request with the query of `uri` goes.
    pub(super) fn target(&self, uri: &Uri) -> Url {
        let mut target = self.upstream.clone();
        if uri.query().is_some() {
            target.set_query(uri.query());
        }
        target
    }

    /// Returns the method, and the address below the node's own.
    pub(super) fn address(&self) -> (String, String) {
        let path = format!("/a/{}{}", self.agent.name, self.agent.path);
        (self.agent.method.clone(), path)
    }

    /// Returns the agent's name.
    pub(super) fn agent(&self) -> &str {
        &self.agent.name
    }
}

/// Returns `path` without its last slash: `/` and the empty path are the same.
fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

impl Pricing for Core {
    fn terms(&self, request: &Parts) -> Option<Terms> {
        let Matched(route) = request.extensions.get()?;
        let agent = &route.agent;
        let sells = |rail: &str| agent.rails.iter().any(|name| name == rail);
        let mut links = vec![format!(
            "<{}/openapi.json>; rel=\"service-desc\"",
            self.public_url
        )];
        if let Some(naddr) = self.routes.listings.read().get(&agent.name) {
            links.push(format!(
                "<{}/l/{naddr}>; rel=\"describedby\"",
                self.public_url
            ));
        }
        Some(Terms {
            service: agent.name.clone(),
            capability: agent.capability.clone(),
            description: if agent.summary.is_empty() {
                agent.name.clone()
            } else {
                agent.summary.chars().take(200).collect()
            },
            price: agent.price,
            asks_pricer: false,
            is_shadow: false,
            trial: None,
            uses: agent.uses.max(1),
            metered: route.metered.clone(),
            commit: match agent.commit {
                CommitRule::Head => CommitAt::Head,
                CommitRule::BodyEnd => CommitAt::BodyEnd,
            },
            valid_secs: agent.valid_secs,
            invoice_expiry_secs: self.config.invoice_expiry_secs,
            lightning: sells("l402") && self.lightning.is_some(),
            ecash: sells("nut24")
                .then(|| self.ecash_terms(&agent.name))
                .flatten(),
            links,
        })
    }
}

impl Core {
    fn ecash_terms(&self, agent: &str) -> Option<EcashTerms> {
        let mints: Vec<String> = self
            .wallets
            .mints()
            .into_iter()
            .map(|mint| mint.url)
            .collect();
        (!mints.is_empty()).then(|| EcashTerms {
            mints,
            lock_key: self.wallets.lock_key(agent).ok(),
            min_locktime_secs: self.config.min_locktime_secs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(path: &str) -> Routes {
        let mut agent = AgentConfig::new("data", "http://127.0.0.1:9/api", Msat::new(1_000));
        agent.path = path.to_owned();
        let routes = Routes::default();
        routes.replace(vec![agent]).unwrap();
        routes
    }

    #[track_caller]
    fn check(path: &str, asked: &str, target: Option<&str>) {
        let uri: Uri = asked.parse().unwrap();
        let found = routes(path).find("data", &Method::POST, &uri);
        let found = found.map(|route| route.target(&uri).to_string());
        assert_eq!(found.as_deref(), target, "{asked}");
    }

    #[test]
    fn only_the_priced_path_is_routed() {
        check("/v1/x", "/a/data/v1/x", Some("http://127.0.0.1:9/api/v1/x"));
        check(
            "/v1/x",
            "/v1/x?q=1",
            Some("http://127.0.0.1:9/api/v1/x?q=1"),
        );
        check("/", "/a/data", Some("http://127.0.0.1:9/api"));
        check("/", "/a/data/", Some("http://127.0.0.1:9/api"));
        check("/v1/x", "/a/data/v1/y", None);
        check("/v1/x", "/a/data/v1/x/../y", None);
        check("/v1/x", "/a/data/v1/%78", None);
        check("/v1/x", "/a/database/v1/x", None);
    }

    #[test]
    fn only_the_priced_method_is_routed() {
        let uri = Uri::from_static("/a/data/v1/x");
        assert!(routes("/v1/x").find("data", &Method::GET, &uri).is_none());
        assert!(routes("/v1/x").find("data", &Method::HEAD, &uri).is_some());
        assert!(routes("/v1/x").find("other", &Method::POST, &uri).is_none());
    }
}

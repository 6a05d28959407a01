//! Which request of which agent is sold, where it goes and on what terms.
//!
//! An agent sells the paths and methods of its file. Everything else below its name
//! is answered 404, so that nothing is free by accident; so is a path that could
//! mean another one to the upstream. Of two patterns that fit, the more exact counts.
//!
//! All routes are replaced as a whole. A call that runs keeps the route it began
//! with, so a reload neither waits for it nor changes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use feria_paywall::amount::Msat;
use feria_paywall::price::{CommitAt, EcashTerms, Metered, Pricing, Terms, Trial};
use http::request::Parts;
use http::{HeaderName, Method, Uri};
use parking_lot::RwLock;
use url::Url;

use super::forward::GrpcCall;
use super::{Core, GatewayError};
use crate::config::{AgentConfig, CommitRule, RouteTerms, SoldRoute, normal_path, pattern};

/// One path of an agent.
#[derive(Debug)]
pub(super) struct Route {
    agent: Arc<AgentConfig>,
    /// The pattern below the agent's name.
    path: String,
    methods: Vec<Method>,
    /// `None` when it is free.
    terms: Option<RouteTerms>,
    /// Where a metered upstream says the cost.
    cost_header: HeaderName,
    upstream: Url,
}

/// Put into a request's extensions once it has been matched.
#[derive(Debug, Clone)]
pub(super) struct Matched(pub(super) Arc<Route>);

/// The routes of all own agents; replaced as a whole.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_agent: RwLock<Arc<HashMap<String, AgentRoutes>>>,
    /// The `naddr` of each agent's listing.
    listings: RwLock<HashMap<String, String>>,
}

/// The routes of one agent, its own path first.
#[derive(Debug)]
struct AgentRoutes {
    all: Vec<Arc<Route>>,
    by_path: matchit::Router<Vec<Arc<Route>>>,
}

impl Routes {
    /// Replaces all routes, or none if one of them cannot be. `is_shadow` lets all
    /// calls through.
    pub(super) fn replace(
        &self,
        agents: Vec<AgentConfig>,
        is_shadow: bool,
    ) -> Result<(), GatewayError> {
        let routes = agents
            .into_iter()
            .map(|agent| Ok((agent.name.clone(), AgentRoutes::new(agent, is_shadow)?)))
            .collect::<Result<HashMap<_, _>, GatewayError>>()?;
        *self.by_agent.write() = Arc::new(routes);
        Ok(())
    }

    pub(super) fn set_listing(&self, agent: &str, naddr: &str) {
        self.listings
            .write()
            .insert(agent.to_owned(), naddr.to_owned());
    }

    /// Returns the first route of `agent` that sells `capability`, whatever the request.
    pub(super) fn of(&self, agent: &str, capability: &str) -> Option<Arc<Route>> {
        let by_agent = Arc::clone(&self.by_agent.read());
        let mut all = by_agent.get(agent)?.all.iter();
        all.find(|route| {
            let terms = route.terms.as_ref();
            terms.is_some_and(|terms| terms.capability == capability)
        })
        .cloned()
    }

    /// Returns the route that sells this request. `HEAD` asks for the price of any method.
    pub(super) fn find(&self, agent: &str, method: &Method, uri: &Uri) -> Option<Arc<Route>> {
        let path = normal_path(below(agent, uri)?)?;
        let by_agent = Arc::clone(&self.by_agent.read());
        let found = by_agent.get(agent)?.by_path.at(&path).ok()?;
        let mut routes = found.value.iter();
        routes.find(|route| route.takes(method)).cloned()
    }
}

/// Returns the path below the agent's name, if it is there; else the whole path.
/// `None` when the path is below another name.
fn below<'a>(agent: &str, uri: &'a Uri) -> Option<&'a str> {
    let path = uri.path();
    match path.strip_prefix("/a/") {
        None => Some(path),
        Some(rest) => rest
            .strip_prefix(agent)
            .filter(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

impl AgentRoutes {
    fn new(agent: AgentConfig, is_shadow: bool) -> Result<Self, GatewayError> {
        let agent = Arc::new(agent);
        let invalid = |what| GatewayError::Agent {
            agent: agent.name.clone(),
            what,
        };
        // The name stands in macaroon caveats, where these would mean something.
        if agent.name.is_empty() || agent.name.contains([',', ':', '=', '/']) {
            return Err(invalid("name"));
        }
        let all = agent
            .sold()
            .into_iter()
            .map(|sold| {
                Route::new(&agent, sold, is_shadow)
                    .map(Arc::new)
                    .map_err(invalid)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut patterns: BTreeMap<String, Vec<Arc<Route>>> = BTreeMap::new();
        for route in &all {
            let same = patterns.entry(pattern(&route.path)).or_default();
            same.push(Arc::clone(route));
        }
        let mut by_path = matchit::Router::new();
        for (path, routes) in patterns {
            by_path.insert(path, routes).map_err(|_| invalid("path"))?;
        }
        Ok(Self { all, by_path })
    }
}

impl Route {
    fn new(
        agent: &Arc<AgentConfig>,
        sold: SoldRoute,
        is_shadow: bool,
    ) -> Result<Self, &'static str> {
        let (upstream, _) = agent.upstream_url().ok_or("upstream")?;
        let cost_header = HeaderName::try_from(agent.cost_header.as_str());
        let methods = sold.methods.iter().map(|method| method.parse());
        let mut terms = sold.terms;
        if let Some(terms) = &mut terms {
            terms.is_shadow |= is_shadow;
        }
        Ok(Self {
            agent: Arc::clone(agent),
            methods: methods.collect::<Result<_, _>>().map_err(|_| "method")?,
            path: sold.path,
            terms,
            cost_header: cost_header.map_err(|_| "cost_header")?,
            upstream,
        })
    }

    /// Returns whether a request with `method` is this route's. What passes unpaid is
    /// not asked for its price: there `HEAD` goes with `GET`.
    fn takes(&self, method: &Method) -> bool {
        let is_priced = self.terms.as_ref().is_some_and(|terms| !terms.is_shadow);
        let has_head = is_priced || self.methods.contains(&Method::GET);
        self.methods.contains(method) || (*method == Method::HEAD && has_head)
    }

    /// Returns where a request with the path and query of `uri` goes.
    pub(super) fn target(&self, uri: &Uri) -> Url {
        let path = if self.path.contains("{*") {
            // Below a catch-all, a slash at the end is the upstream's to interpret.
            self.below(uri)
        } else if self.path.contains('{') {
            without_slash(self.below(uri))
        } else {
            without_slash(&self.path)
        };
        let mut target = self.upstream.clone();
        if !path.is_empty() {
            let path = format!("{}{path}", target.path().trim_end_matches('/'));
            target.set_path(&path);
        }
        if uri.query().is_some() {
            target.set_query(uri.query());
        }
        target
    }

    /// Returns the path of a matched request below the agent's name.
    pub(super) fn below<'a>(&self, uri: &'a Uri) -> &'a str {
        below(&self.agent.name, uri).unwrap_or_default()
    }

    /// Returns a method, and the address below the node's own.
    pub(super) fn address(&self) -> (String, String) {
        let path = format!("/a/{}{}", self.agent.name, self.path);
        let method = self.methods.first().map(Method::to_string);
        (method.unwrap_or_default(), path)
    }

    /// Returns the agent's name.
    pub(super) fn agent(&self) -> &str {
        &self.agent.name
    }

    /// Returns what it is sold for; `None` when it is free.
    pub(super) const fn terms(&self) -> Option<&RouteTerms> {
        self.terms.as_ref()
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

impl Pricing for Core {
    fn terms(&self, request: &Parts) -> Option<Terms> {
        let Matched(route) = request.extensions.get()?;
        let is_grpc = request.extensions.get::<GrpcCall>().is_some();
        let agent = &route.agent;
        let sold = route.terms.as_ref()?;
        let sells = |rail: &str| sold.rails.iter().any(|name| name == rail);
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
            capability: sold.capability.clone(),
            description: if agent.summary.is_empty() {
                agent.name.clone()
            } else {
                agent.summary.chars().take(200).collect()
            },
            price: sold.price,
            asks_pricer: sold.pricer.is_some(),
            is_shadow: sold.is_shadow,
            trial: (sold.trial_calls > 0).then_some(Trial {
                calls: sold.trial_calls,
                window_secs: sold.trial_window_secs,
            }),
            uses: sold.uses,
            metered: (sold.metered_deposit > Msat::ZERO).then(|| Metered {
                deposit: sold.metered_deposit,
                cost_header: route.cost_header.clone(),
            }),
            commit: match sold.commit {
                CommitRule::Head if !is_grpc => CommitAt::Head,
                // Only its trailers say whether a gRPC call succeeded.
                CommitRule::Head | CommitRule::BodyEnd => CommitAt::BodyEnd,
            },
            valid_secs: sold.valid_secs,
            invoice_expiry_secs: self.config.invoice_expiry_secs,
            lightning: sells("l402") && self.lightning.receiver().is_some(),
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
    use crate::config::RouteConfig;

    fn routes(path: &str, further: &[(&str, &str)]) -> Routes {
        let mut agent = AgentConfig::new("data", "http://127.0.0.1:9/api", Msat::new(1_000));
        agent.path = path.to_owned();
        agent.routes = further
            .iter()
            .map(|(method, path)| RouteConfig {
                path: (*path).to_owned(),
                methods: vec![(*method).to_owned()],
                free: *method == "OPTIONS",
                ..RouteConfig::default()
            })
            .collect();
        agent.check().unwrap();
        let routes = Routes::default();
        routes.replace(vec![agent], false).unwrap();
        routes
    }

    #[track_caller]
    fn check(path: &str, asked: &str, target: Option<&str>) {
        let uri: Uri = asked.parse().unwrap();
        let found = routes(path, &[]).find("data", &Method::POST, &uri);
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
    fn a_pattern_stands_for_a_segment_or_for_all_that_follows() {
        let one = "/v1/models/{name}";
        check(
            one,
            "/a/data/v1/models/x/",
            Some("http://127.0.0.1:9/api/v1/models/x"),
        );
        check(
            one,
            "/a/data/v1/models/a%20b",
            Some("http://127.0.0.1:9/api/v1/models/a%20b"),
        );
        check(one, "/a/data/v1/models/x/y", None);
        check(one, "/a/data/v1/models", None);
        let all = "/v1/{*rest}";
        check(
            all,
            "/a/data/v1/x/y/",
            Some("http://127.0.0.1:9/api/v1/x/y/"),
        );
        check(all, "/a/data/v1", None);
        check(all, "/a/data/v2/x", None);
        check("/{*rest}", "/a/database/x", None);
    }

    #[test]
    fn what_could_climb_out_of_a_pattern_is_not_routed() {
        for tail in [
            "..", "x/../y", ".", "%2e%2e/y", "x%2fy", "%2F", "x//y", "x\\y", "x%5Cy", "..;/y",
            "%78", "x%00",
        ] {
            check("/v1/{*rest}", &format!("/a/data/v1/{tail}"), None);
        }
    }

    #[test]
    fn the_more_exact_pattern_counts_with_its_methods_alone() {
        let routes = routes("/v1/{*rest}", &[("GET", "/v1/dear"), ("POST", "/v1/dear")]);
        let at = |method: &Method, path: &'static str| {
            let found = routes.find("data", method, &Uri::from_static(path));
            found.map(|route| route.path.clone())
        };

        assert_eq!(
            at(&Method::POST, "/v1/cheap").as_deref(),
            Some("/v1/{*rest}")
        );
        assert_eq!(at(&Method::GET, "/v1/dear").as_deref(), Some("/v1/dear"));
        assert_eq!(at(&Method::POST, "/v1/dear/").as_deref(), Some("/v1/dear"));
        assert_eq!(at(&Method::PUT, "/v1/dear"), None);
        assert_eq!(at(&Method::GET, "/v1/cheap"), None);
    }

    #[test]
    fn only_the_priced_method_is_routed() {
        let uri = Uri::from_static("/a/data/v1/x");
        let routes = routes("/v1/x", &[("OPTIONS", "/free")]);
        assert!(routes.find("data", &Method::GET, &uri).is_none());
        assert!(routes.find("data", &Method::HEAD, &uri).is_some());
        assert!(routes.find("other", &Method::POST, &uri).is_none());
        let free = Uri::from_static("/a/data/free");
        assert!(routes.find("data", &Method::OPTIONS, &free).is_some());
        assert!(routes.find("data", &Method::HEAD, &free).is_none());
    }
}

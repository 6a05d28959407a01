//! Own agents: what they sell and whether anybody sees it.

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use feria_paywall::amount::{MAX_MSAT, Msat};
use feria_paywall::l402::{Challenge, check_invoice};
use http_body_util::BodyExt;
use serde::Serialize;

use super::Answer;
use crate::config::{AgentConfig, SoldRoute};
use crate::gateway::GivenAway;
use crate::http::admin::guard::{About, Caller};
use crate::http::{Node, Problem};
use crate::market::{CheckReport, PublishReport, QuotedPrice};

/// An own agent as the API shows it.
#[derive(Serialize)]
struct AgentView {
    name: String,
    summary: String,
    capability: String,
    price_msat: u64,
    rails: Vec<String>,
    topics: Vec<String>,
    method: String,
    url: String,
    upstream: String,
    uses: u32,
    valid_secs: u64,
    routes: Vec<RouteView>,
    given_away: GivenAway,
    public_key: String,
    coordinate: String,
}

/// One path of an agent; its terms are `null` when it is free.
#[derive(Serialize)]
struct RouteView {
    path: String,
    methods: Vec<String>,
    capability: Option<String>,
    price_msat: Option<u64>,
    /// `fixed`, `asked` of a pricer, `shadow` or `free`.
    mode: &'static str,
    trial_calls: u32,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct AgentList {
    items: Vec<AgentView>,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct Reloaded {
    items: Vec<AgentView>,
    /// Agents that are new or not as before.
    changed: Vec<String>,
}

fn view(node: &Node, agent: &AgentConfig) -> AgentView {
    let public_key = node.seed.nostr_keys(&agent.name).public_key().to_hex();
    AgentView {
        name: agent.name.clone(),
        summary: agent.summary.clone(),
        capability: agent.capability.clone(),
        price_msat: agent.price.as_u64(),
        rails: agent.rails.clone(),
        topics: agent.topics.clone(),
        method: agent.method.clone(),
        url: format!("{}/a/{}{}", node.config.public.url, agent.name, agent.path),
        upstream: agent.upstream.clone(),
        uses: agent.uses,
        valid_secs: agent.valid_secs,
        routes: agent
            .sold()
            .into_iter()
            .map(|route| route_view(node, route))
            .collect(),
        given_away: node.gateway.given_away(&agent.name),
        coordinate: format!("31402:{public_key}:{}", agent.name),
        public_key,
    }
}

fn route_view(node: &Node, route: SoldRoute) -> RouteView {
    let terms = route.terms.as_ref();
    let mode = match terms {
        None => "free",
        Some(terms) if terms.is_shadow || node.config.gateway.shadow => "shadow",
        Some(terms) if terms.pricer.is_some() => "asked",
        Some(_) => "fixed",
    };
    RouteView {
        capability: terms.map(|terms| terms.capability.clone()),
        price_msat: terms.map(|terms| terms.price.as_u64()),
        trial_calls: terms.map_or(0, |terms| terms.trial_calls),
        mode,
        path: route.path,
        methods: route.methods,
    }
}

fn all(node: &Node) -> Vec<AgentView> {
    let agents = node.agents.list();
    agents.iter().map(|agent| view(node, agent)).collect()
}

pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<AgentList> {
    let node = caller.admit(About::default()).await?;
    Ok(Json(AgentList { items: all(&node) }))
}

/// Reads `agents/*.toml` again; nothing changes when one of them is wrong.
pub(in crate::http::admin) async fn reload(caller: Caller) -> Answer<Reloaded> {
    let node = caller.admit(About::default()).await?;
    let changed = node.reload_agents().map_err(|error| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_agent_file",
            error.to_string(),
        )
    })?;
    Ok(Json(Reloaded {
        items: all(&node),
        changed,
    }))
}

pub(in crate::http::admin) async fn publish(
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<PublishReport> {
    let (node, agent) = admit_to_agent(&caller, &name).await?;
    let own = node.own_agent(&agent)?;
    if own.listing.rails.is_empty() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no_way_to_be_paid",
            format!(
                "nobody could pay {name}: it sells for {}, which needs a mint (nut24) or Lightning (l402)",
                agent.rails.join(" and "),
            ),
        )
        .next("add a mint: feria mint add URL --cap 10000sat")
        .next("then restart the node: it reads its mints at start"));
    }
    if own.write_relays.is_empty() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no_write_relay",
            "no relay in relays.toml is written to",
        )
        .next("set write = true for at least one relay and restart"));
    }
    Ok(Json(node.market.publisher.publish(&own).await))
}

/// Says what keeps the agent's listing from being seen.
pub(in crate::http::admin) async fn check(
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<CheckReport> {
    let (node, agent) = admit_to_agent(&caller, &name).await?;
    let own = node.own_agent(&agent)?;
    let quoted = quote(&node, &agent).await;
    Ok(Json(node.market.check(&own, Some(quoted)).await))
}

async fn admit_to_agent(
    caller: &Caller,
    name: &str,
) -> Result<(std::sync::Arc<Node>, AgentConfig), Problem> {
    let about = About {
        agent: Some(name),
        ..About::default()
    };
    let node = caller.admit(about).await?;
    let agent = node.agents.find(name).ok_or_else(|| {
        Problem::not_found(format!("there is no agent {name}"))
            .next("add it: feria agent add NAME --upstream URL --price 21sat")
    })?;
    Ok((node, agent))
}

/// Asks the agent's own gateway for the price, as a buyer would.
async fn quote(node: &Node, agent: &AgentConfig) -> QuotedPrice {
    if agent.shadow || node.config.gateway.shadow {
        // Asking would call the upstream.
        return QuotedPrice::Shadow;
    }
    let mut request = Request::new(Body::empty().map_err(Into::into).boxed_unsync());
    *request.method_mut() = Method::from_bytes(agent.method.as_bytes()).unwrap_or(Method::POST);
    // Of a pattern, the names of its parts make a path that fits.
    let path = agent.path.replace(['{', '}', '*'], "");
    if let Ok(uri) = format!("/a/{}{path}", agent.name).parse() {
        *request.uri_mut() = uri;
    }
    let response = node.gateway.handle(&agent.name, request).await;
    let asked = (response.status() == StatusCode::PAYMENT_REQUIRED)
        .then(|| asked(response.headers(), node.clock.now()))
        .flatten();
    match asked {
        Some(price) => QuotedPrice::Asked(price),
        None => QuotedPrice::NoChallenge {
            status: response.status().as_u16(),
        },
    }
}

fn asked(headers: &HeaderMap, now: u64) -> Option<Msat> {
    let ecash = headers
        .get("x-cashu")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| feria_paywall::xcashu::request::parse(text).ok())
        .map(|terms| terms.amount.to_msat());
    ecash.or_else(|| {
        Challenge::parse_all(headers)
            .iter()
            .find_map(|challenge| check_invoice(&challenge.invoice, Msat::new(MAX_MSAT), now).ok())
            .map(|invoice| invoice.amount)
    })
}

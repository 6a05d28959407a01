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
use crate::config::AgentConfig;
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
    public_key: String,
    coordinate: String,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct AgentList {
    items: Vec<AgentView>,
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
        coordinate: format!("31402:{public_key}:{}", agent.name),
        public_key,
    }
}

fn all(node: &Node) -> Json<AgentList> {
    let agents = node.agents.list();
    Json(AgentList {
        items: agents.iter().map(|agent| view(node, agent)).collect(),
    })
}

pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<AgentList> {
    let node = caller.admit(About::default()).await?;
    Ok(all(&node))
}

/// Reads `agents/*.toml` again.
pub(in crate::http::admin) async fn reload(caller: Caller) -> Answer<AgentList> {
    let node = caller.admit(About::default()).await?;
    node.reload_agents().map_err(|error| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_agent_file",
            error.to_string(),
        )
    })?;
    Ok(all(&node))
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
    let mut request = Request::new(Body::empty().map_err(Into::into).boxed_unsync());
    *request.method_mut() = Method::from_bytes(agent.method.as_bytes()).unwrap_or(Method::POST);
    if let Ok(uri) = format!("/a/{}{}", agent.name, agent.path).parse() {
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

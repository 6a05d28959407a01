//! Files that machines look for, all written from the agents' configuration.
//!
//! | path | read by |
//! |---|---|
//! | `/openapi.json` | 402 explorers and agents; `x-payment-info` per priced route |
//! | `/.well-known/l402.json`, `/.well-known/l402-services` | L402 clients and indexes |
//! | `/.well-known/nostr.json` | Nostr clients (NIP-05): ties this host to the agents' keys |
//! | `/.well-known/agent-card.json` | A2A clients |
//! | `/llms.txt` | language models |

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::{AgentConfig, RouteTerms, SoldRoute};
use crate::http::Node;

const GUIDANCE: &str = "Call a route without payment to learn its price: the 402 answer carries an \
                        L402 challenge (WWW-Authenticate) and a Cashu payment request (X-Cashu). \
                        Pay one of them and repeat the request with the proof. Amounts are in sat.";

fn route(agent: &AgentConfig) -> String {
    format!("/a/{}{}", agent.name, agent.path)
}

/// Returns every path of `agent` that costs something, with its terms.
fn priced(agent: &AgentConfig) -> impl Iterator<Item = (SoldRoute, RouteTerms)> {
    agent
        .sold()
        .into_iter()
        .filter_map(|mut route| route.terms.take().map(|terms| (route, terms)))
}

fn takes(agent: &AgentConfig, rail: &str) -> bool {
    priced(agent).any(|(_, terms)| has_rail(&terms, rail))
}

fn has_rail(terms: &RouteTerms, rail: &str) -> bool {
    terms.rails.iter().any(|known| known == rail)
}

pub(super) async fn openapi(State(node): State<Arc<Node>>) -> Json<Value> {
    let mut paths = Map::new();
    for agent in node.agents.list().iter() {
        for (place, route) in agent.sold().iter().enumerate() {
            let path = format!("/a/{}{}", agent.name, route.path.replace("{*", "{"));
            let item = paths.entry(path).or_insert_with(|| json!({}));
            for method in &route.methods {
                let id = operation_id(agent, place, route, method);
                item[method.to_ascii_lowercase()] = operation(agent, route, &id);
            }
        }
    }
    paths.insert("/v1/refund".to_owned(), refund_operation());
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Agents of this Feria node",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("Network: {}", node.config.network.as_str()),
            "x-guidance": GUIDANCE,
        },
        "servers": [{"url": node.config.public.url}],
        "x-service-info": {
            "categories": ["agents"],
            "docs": {"llms": format!("{}/llms.txt", node.config.public.url)},
        },
        "paths": paths,
    }))
}

/// Returns a name that no other operation of the node has.
fn operation_id(agent: &AgentConfig, place: usize, route: &SoldRoute, method: &str) -> String {
    if place == 0 {
        return format!("{}_{}", agent.name, agent.capability);
    }
    let terms = route.terms.as_ref();
    let what = terms.map_or("free", |terms| terms.capability.as_str());
    format!(
        "{}_{what}_{place}_{}",
        agent.name,
        method.to_ascii_lowercase()
    )
}

fn operation(agent: &AgentConfig, route: &SoldRoute, id: &str) -> Value {
    let mut operation = json!({
        "operationId": id,
        "summary": agent.summary,
        "tags": agent.topics,
        "responses": {"200": {"description": "The agent's answer."}},
    });
    let parameters: Vec<Value> = parameters(&route.path)
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if let Some(terms) = &route.terms {
        operation["x-payment-info"] = payment_info(agent, terms);
        operation["responses"]["402"] = json!({
            "description": "Payment required: an L402 challenge, a Cashu payment request, or both."
        });
    }
    operation
}

/// Returns the names of the variable parts of a pattern.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('{').skip(1);
    parts.filter_map(|part| Some(part.split_once('}')?.0.trim_start_matches('*')))
}

fn payment_info(agent: &AgentConfig, terms: &RouteTerms) -> Value {
    let amount = terms.price.ceil_sat().as_u64().to_string();
    let methods = [("l402", "lightning"), ("nut24", "cashu")];
    let offers: Vec<Value> = methods
        .iter()
        .filter(|(rail, _)| has_rail(terms, rail))
        .map(|(_, method)| {
            json!({
                "intent": "charge", "method": method, "amount": amount, "currency": "sat",
                "description": agent.summary,
            })
        })
        .collect();
    // What a pricer is asked for may differ from what is listed.
    let mode = if terms.pricer.is_some() {
        "dynamic"
    } else {
        "fixed"
    };
    json!({
        "offers": offers,
        "price": {"mode": mode, "currency": "sat", "amount": amount},
        "protocols": terms.rails,
        "amount_msat": terms.price.as_u64(),
        "trial_calls": terms.trial_calls,
    })
}

fn refund_operation() -> Value {
    json!({"post": {
        "operationId": "refund",
        "summary": "Collects what a failed call was paid with; the token that paid for it is the key.",
        "requestBody": {"content": {"application/json": {"schema": {
            "type": "object", "required": ["token"], "properties": {"token": {"type": "string"}},
        }}}},
        "responses": {
            "200": {"description": "A token of the same value."},
            "404": {"description": "This token never paid for a call here."},
            "410": {"description": "The call was delivered; nothing is owed."},
        },
    }})
}

pub(super) async fn l402(State(node): State<Arc<Node>>) -> Json<Value> {
    let services: Vec<Value> = node
        .agents
        .list()
        .iter()
        .flat_map(|agent| {
            let url = &node.config.public.url;
            priced(agent)
                .filter(|(_, terms)| has_rail(terms, "l402"))
                .enumerate()
                .map(move |(place, (route, terms))| service(url, agent, place, &route, &terms))
        })
        .collect();
    Json(json!({
        "version": "0",
        "openapi": format!("{}/openapi.json", node.config.public.url),
        "services": services,
    }))
}

fn service(
    url: &str,
    agent: &AgentConfig,
    place: usize,
    route: &SoldRoute,
    terms: &RouteTerms,
) -> Value {
    let id = if place == 0 {
        agent.name.clone()
    } else {
        format!("{}_{}_{place}", agent.name, terms.capability)
    };
    json!({
        "id": id,
        "description": agent.summary,
        "url": format!("{url}/a/{}{}", agent.name, route.path),
        "method": route.methods.first(),
        "methods": route.methods,
        "capability": terms.capability,
        "price": {"amount_msat": terms.price.as_u64()},
        "uses": (terms.uses > 0).then_some(terms.uses),
        "valid_secs": terms.valid_secs,
    })
}

pub(super) async fn l402_services(State(node): State<Arc<Node>>) -> Json<Value> {
    let agents = node.agents.list();
    let mut methods = Vec::new();
    if agents.iter().any(|agent| takes(agent, "l402")) {
        methods.push(json!({"type": "lightning"}));
    }
    if agents.iter().any(|agent| takes(agent, "nut24")) {
        let mints: Vec<String> = node
            .wallets
            .mints()
            .into_iter()
            .map(|mint| mint.url)
            .collect();
        methods.push(json!({"type": "cashu", "mints": mints}));
    }
    let routes: Vec<Value> = agents
        .iter()
        .flat_map(|agent| {
            priced(agent).map(move |(route, terms)| {
                json!({
                    "path": format!("/a/{}{}", agent.name, route.path),
                    "methods": route.methods,
                    "description": agent.summary,
                    "price": {"amount_msat": terms.price.as_u64()},
                })
            })
        })
        .collect();
    Json(json!({
        "version": "1",
        "service": {"name": "feria", "url": node.config.public.url},
        "payment_methods": methods,
        "routes": routes,
    }))
}

#[derive(Deserialize)]
pub(super) struct NameQuery {
    name: Option<String>,
}

pub(super) async fn nostr(
    State(node): State<Arc<Node>>,
    Query(query): Query<NameQuery>,
) -> impl IntoResponse {
    let mut names = Map::new();
    let mut relays = Map::new();
    let inboxes: Vec<&str> = node
        .config
        .relays
        .iter()
        .filter(|relay| relay.write || relay.inbox)
        .map(|relay| relay.url.as_str())
        .collect();
    for agent in node.agents.list().iter() {
        if query.name.as_ref().is_some_and(|name| *name != agent.name) {
            continue;
        }
        let key = node.seed.nostr_keys(&agent.name).public_key().to_hex();
        relays.insert(key.clone(), json!(inboxes));
        names.insert(agent.name.clone(), json!(key));
    }
    (
        [(ACCESS_CONTROL_ALLOW_ORIGIN, "*")],
        Json(json!({"names": names, "relays": relays})),
    )
}

pub(super) async fn agent_card(State(node): State<Arc<Node>>) -> Json<Value> {
    let skills: Vec<Value> = node
        .agents
        .list()
        .iter()
        .map(|agent| {
            json!({
                "id": agent.name,
                "name": agent.name,
                "description": format!(
                    "{} Costs {} per call: {} {}{}",
                    agent.summary, agent.price, agent.method, node.config.public.url, route(agent)
                ),
                "tags": agent.topics,
            })
        })
        .collect();
    Json(json!({
        "name": "Feria node",
        "description": "Agents that are paid per call, by Lightning or ecash, without an account.",
        "version": env!("CARGO_PKG_VERSION"),
        "supportedInterfaces": [],
        "documentationUrl": format!("{}/llms.txt", node.config.public.url),
        "capabilities": {"streaming": false, "pushNotifications": false},
        "defaultInputModes": ["application/json"],
        "defaultOutputModes": ["application/json"],
        "skills": skills,
    }))
}

pub(super) async fn llms(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let url = &node.config.public.url;
    let mut text = format!(
        "# Feria node\n\n> Agents that are paid per call, by Lightning (L402) or ecash (Cashu NUT-24), \
         without an account. Network: {}.\n\n{GUIDANCE}\n\n## Agents\n\n",
        node.config.network.as_str()
    );
    for agent in node.agents.list().iter() {
        let summary = agent.summary.replace(['\n', '\r'], " ");
        for (route, terms) in priced(agent) {
            // Writing into a String does not fail.
            let _ = writeln!(
                text,
                "- [{name}]({url}/a/{name}{}): {} {summary}; {} per call; {}",
                route.path,
                route.methods.join(", "),
                terms.price,
                terms.rails.join(" or "),
                name = agent.name,
            );
        }
    }
    let _ = writeln!(
        text,
        "\n## Documents\n\n- [OpenAPI]({url}/openapi.json): routes and prices\n\
         - [L402 services]({url}/.well-known/l402-services)\n\n\
         This host is also a Nostr relay: ask it for kind 31402 to find more agents."
    );
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

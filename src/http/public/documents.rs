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

use crate::config::AgentConfig;
use crate::http::Node;

const GUIDANCE: &str = "Call a route without payment to learn its price: the 402 answer carries an \
                        L402 challenge (WWW-Authenticate) and a Cashu payment request (X-Cashu). \
                        Pay one of them and repeat the request with the proof. Amounts are in sat.";

fn route(agent: &AgentConfig) -> String {
    format!("/a/{}{}", agent.name, agent.path)
}

fn takes(agent: &AgentConfig, rail: &str) -> bool {
    agent.rails.iter().any(|known| known == rail)
}

pub(super) async fn openapi(State(node): State<Arc<Node>>) -> Json<Value> {
    let mut paths = Map::new();
    for agent in node.agents.list().iter() {
        let operation = Map::from_iter([(agent.method.to_ascii_lowercase(), operation(agent))]);
        paths.insert(route(agent), Value::Object(operation));
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

fn operation(agent: &AgentConfig) -> Value {
    let amount = agent.price.ceil_sat().as_u64().to_string();
    let methods = [("l402", "lightning"), ("nut24", "cashu")];
    let offers: Vec<Value> = methods
        .iter()
        .filter(|(rail, _)| takes(agent, rail))
        .map(|(_, method)| {
            json!({
                "intent": "charge", "method": method, "amount": amount, "currency": "sat",
                "description": agent.summary,
            })
        })
        .collect();
    json!({
        "operationId": format!("{}_{}", agent.name, agent.capability),
        "summary": agent.summary,
        "tags": agent.topics,
        "x-payment-info": {
            "offers": offers,
            "price": {"mode": "fixed", "currency": "sat", "amount": amount},
            "protocols": agent.rails,
            "amount_msat": agent.price.as_u64(),
        },
        "responses": {
            "200": {"description": "The agent's answer."},
            "402": {"description": "Payment required: an L402 challenge, a Cashu payment request, or both."},
        },
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
        .filter(|agent| takes(agent, "l402"))
        .map(|agent| {
            json!({
                "id": agent.name,
                "description": agent.summary,
                "url": format!("{}{}", node.config.public.url, route(agent)),
                "method": agent.method,
                "capability": agent.capability,
                "price": {"amount_msat": agent.price.as_u64()},
                "uses": agent.uses,
                "valid_secs": agent.valid_secs,
            })
        })
        .collect();
    Json(json!({
        "version": "0",
        "openapi": format!("{}/openapi.json", node.config.public.url),
        "services": services,
    }))
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
        .map(|agent| {
            json!({
                "path": route(agent),
                "methods": [agent.method],
                "description": agent.summary,
                "price": {"amount_msat": agent.price.as_u64()},
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
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "- [{}]({url}{}): {} {}; {} per call; {}",
            agent.name,
            route(agent),
            agent.method,
            agent.summary.replace(['\n', '\r'], " "),
            agent.price,
            agent.rails.join(" or ")
        );
    }
    let _ = writeln!(
        text,
        "\n## Documents\n\n- [OpenAPI]({url}/openapi.json): routes and prices\n\
         - [L402 services]({url}/.well-known/l402-services)\n\n\
         This host is also a Nostr relay: ask it for kind 31402 to find more agents."
    );
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

//! Tokens that their holders have narrowed, over HTTP: each caveat opens what it
//! says and nothing else.

use feria::access::{Restriction, attenuate};
use feria::wallet::NewAgentWallet;
use feria_paywall::amount::Sat;
use feria_paywall::l402::{Caveat, Macaroon};
use serde_json::{Value, json};

use super::*;

/// A mint that nothing listens at: wallets can be opened there, empty.
const MINT: &str = "http://127.0.0.1:9";
/// A call that is let in ends so: nothing listens at the seller either.
const LET_IN: &str = "seller_unreachable";

/// A node with wallets of the agents `scout` and `other`.
async fn node() -> Running {
    let node = Running::start_with(|config| {
        config.mints.push(feria::config::MintEntry {
            url: MINT.to_owned(),
            cap: Sat::new(1_000),
        });
    })
    .await;
    for agent in ["scout", "other"] {
        let wallet = NewAgentWallet {
            agent: agent.to_owned(),
            limit: Sat::new(100),
            ttl_secs: 3_600,
            mint: MINT.to_owned(),
        };
        node.app.wallets.create_agent_wallet(wallet).await.unwrap();
    }
    node
}

fn narrowed(token: &str, caveats: &[&str]) -> String {
    let restrictions: Vec<Restriction> = caveats.iter().map(|one| one.parse().unwrap()).collect();
    attenuate(token, &restrictions).unwrap()
}

impl Running {
    /// Returns the `code` of the answer; empty when it is none of a problem.
    async fn post(&self, token: &str, path: &str, body: &Value) -> String {
        let request = self.http.post(self.admin(path)).bearer_auth(token);
        let response = request.json(body).send().await.unwrap();
        let document: Value = response.json().await.unwrap();
        document["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that a paid call with `edits` over a plain one is answered with `code`.
    async fn check(&self, token: &str, edits: Value, code: &str) {
        let mut body = json!({
            "wallet": "scout",
            "url": "http://127.0.0.1:9/",
            "method": "GET",
            "rail": "cashu",
            "max_cost_msat": 4_000,
            "max_fee_msat": 1_000,
        });
        for (key, value) in edits.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = self.post(token, "/api/v1/fetch", &body).await;
        assert_eq!(answer, code, "{body}");
    }
}

#[tokio::test]
async fn each_caveat_bounds_the_calls_that_pay() {
    let node = node().await;
    let token = node.token(Tier::AgentCommerce).await;
    let rows = [
        (
            "agent=scout",
            json!({}),
            json!({"wallet": "other"}),
            "token_restricted",
        ),
        (
            "agent=scout",
            json!({}),
            json!({"wallet": "nobody"}),
            "token_restricted",
        ),
        (
            "host=127.0.0.1,api.example",
            json!({}),
            json!({"url": "http://localhost:9/"}),
            "token_restricted",
        ),
        (
            "rail=cashu",
            json!({}),
            json!({"rail": "lightning"}),
            "token_restricted",
        ),
        (
            "rail=cashu",
            json!({}),
            json!({"rail": "auto"}),
            "token_restricted",
        ),
        (
            "method=GET",
            json!({}),
            json!({"method": "POST"}),
            "token_restricted",
        ),
        (
            "method=GET",
            json!({}),
            json!({"method": null}),
            "token_restricted",
        ),
        (
            "max_amount_msat=5000",
            json!({}),
            json!({"max_cost_msat": 4_001}),
            "token_amount",
        ),
        (
            "max_amount_msat=5000",
            json!({}),
            json!({"max_cost_msat": null}),
            "token_amount",
        ),
        (
            "max_amount_msat=5000",
            json!({}),
            json!({"max_cost_msat": u64::MAX}),
            "token_amount",
        ),
        (
            "window_msat=5000/60",
            json!({}),
            json!({"max_fee_msat": 1_001}),
            "token_amount",
        ),
        (
            "tier=pay-only",
            json!({}),
            json!({"url": "x"}),
            "bad_request",
        ),
        (
            "expires_at=9999999999",
            json!({}),
            json!({"wallet": "nobody"}),
            "not_found",
        ),
    ];
    for (caveat, inside, outside, code) in rows {
        let narrowed = narrowed(&token, &[caveat]);
        // Twice: what was let in and cost nothing uses nothing up.
        for _ in 0..2 {
            node.check(&narrowed, inside.clone(), LET_IN).await;
        }
        node.check(&narrowed, outside.clone(), code).await;
        if code.starts_with("token") {
            // The same call is nothing that the broad token is refused.
            let body = if outside.get("wallet").is_some_and(|name| name == "nobody") {
                "not_found"
            } else {
                LET_IN
            };
            node.check(&token, outside, body).await;
        }
    }
    for (caveat, code) in [
        ("expires_at=1", "token_expired"),
        ("tier=read-only", "tier_too_low"),
        ("tier=invoice-only", "tier_too_low"),
    ] {
        node.check(&narrowed(&token, &[caveat]), json!({}), code)
            .await;
    }
}

#[tokio::test]
async fn payments_that_name_no_host_or_method_need_a_token_without_one() {
    let node = node().await;
    let token = node.token(Tier::AgentCommerce).await;
    let invoice = json!({"wallet": "scout", "invoice": "lnbc1"});
    let payee = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
    let transfer = json!({"wallet": "scout", "payee": payee, "amount_sat": 1});
    for (caveat, by_invoice, by_message) in [
        ("host=127.0.0.1", "token_restricted", "token_restricted"),
        ("method=GET", "token_restricted", "token_restricted"),
        ("rail=cashu", "token_restricted", ""),
        ("rail=lightning", "bad_request", "token_restricted"),
        ("agent=other", "token_restricted", "token_restricted"),
        ("max_amount_msat=999", "token_amount", "token_amount"),
    ] {
        let narrowed = narrowed(&token, &[caveat]);

        let paid = node.post(&narrowed, "/api/v1/pay", &invoice).await;
        let sent = node.post(&narrowed, "/api/v1/transfers", &transfer).await;

        assert_eq!(paid, by_invoice, "{caveat}");
        if by_message.is_empty() {
            assert!(!sent.starts_with("token"), "{caveat}: {sent}");
        } else {
            assert_eq!(sent, by_message, "{caveat}");
        }
    }
    let bound = narrowed(&token, &["agent=scout"]);
    let wallet = json!({"agent": "other"});
    for (path, body) in [
        ("/api/v1/wallets", &wallet),
        ("/api/v1/wallets/other/close", &json!({})),
        ("/api/v1/wallets/other/sweep", &json!({})),
        ("/api/v1/wallets/treasury/fund", &json!({"amount_sat": 1})),
        ("/api/v1/invoices", &json!({"amount_sat": 1})),
        ("/api/v1/agents/translate/publish", &json!({})),
    ] {
        assert_eq!(
            node.post(&bound, path, body).await,
            "token_restricted",
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_was_narrowed_cannot_be_widened_forged_or_kept() {
    let node = node().await;
    let issue = IssueRequest::new(Tier::PayOnly);
    let issued = node.app.access.issue(issue).await.unwrap();
    let token = issued.text;
    let wider = narrowed(
        &token,
        &[
            "max_amount_msat=4999",
            "max_amount_msat=999999",
            "tier=agent-commerce",
        ],
    );
    let unknown = Macaroon::parse(&token)
        .unwrap()
        .attenuate(&Caveat::new("colour", "blue").unwrap())
        .unwrap()
        .to_base64_url();
    let mut bytes = Macaroon::parse(&token).unwrap().as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let tampered = Macaroon::from_bytes(&bytes).unwrap().to_base64_url();
    let stranger = Running::start().await;
    let foreign = stranger.token(Tier::AgentCommerce).await;

    node.check(&token, json!({}), LET_IN).await;
    node.check(&wider, json!({}), "token_amount").await;
    node.check(&unknown, json!({}), "token_condition_unknown")
        .await;
    node.check(&tampered, json!({}), "token_unknown").await;
    // Another node of the same seed would share its secret; its ledger does not know the token.
    node.check(&foreign, json!({}), "token_without_record")
        .await;
    let credential = "AgEEbHNhdAJCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    node.check(credential, json!({}), "token_unknown").await;

    let operator = hex::encode(node.seed.secret(OPERATOR_LABEL));
    let path = format!("/api/v1/access/tokens/{}/revoke", issued.id);
    assert_eq!(node.post(&token, &path, &json!({})).await, "tier_too_low");
    assert_eq!(node.post(&operator, &path, &json!({})).await, "");
    node.check(&token, json!({}), "token_revoked").await;
    node.check(&wider, json!({}), "token_revoked").await;
    let missing = "/api/v1/access/tokens/0123/revoke";
    assert_eq!(node.post(&operator, missing, &json!({})).await, "not_found");
}

#[tokio::test]
async fn a_narrowed_token_opens_no_route_that_the_broad_one_does_not() {
    let node = node().await;
    for tier in Tier::ALL {
        let token = node.token(tier).await;
        for caveat in [
            "agent=scout",
            "host=127.0.0.1",
            "rail=cashu",
            "method=GET",
            "max_amount_msat=5000",
            "window_msat=5000/60",
            "expires_at=9999999999",
            "tier=agent-commerce",
        ] {
            let narrowed = narrowed(&token, &[caveat]);
            for route in table() {
                let path = concrete(route.path);
                let (status, code) = node.code(&route.method, &path, &narrowed).await;
                let is_denied = status == 403 && code == "tier_too_low";
                assert_eq!(
                    is_denied,
                    !permits(tier, route.permission),
                    "{tier} {caveat} {} {path}: {status} {code}",
                    route.method
                );
            }
        }
    }
}

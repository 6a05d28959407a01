//! Policies and approvals over HTTP and by command: who may decide, and what they
//! are told.

use feria::wallet::NewAgentWallet;
use feria_paywall::amount::Sat;
use serde_json::{Value, json};

use super::*;

impl Running {
    async fn call(
        &self,
        token: &str,
        method: http::Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let request = self
            .http
            .request(method.clone(), self.admin(path))
            .bearer_auth(token);
        let request = if method == http::Method::POST {
            request.json(&body)
        } else {
            request
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn operator(&self) -> String {
        hex::encode(self.seed.secret(OPERATOR_LABEL))
    }
}

/// A seller who asks for 10 sat at `mint` and serves whoever sends a token.
async fn seller(mint: &str) -> String {
    use feria_paywall::xcashu::request::{CashuTerms, encode};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/data", listener.local_addr().unwrap());
    let terms = CashuTerms {
        amount: Sat::new(10),
        unit: "sat".to_owned(),
        mints: vec![mint.to_owned()],
        lock_key: None,
        min_locktime_secs: None,
    };
    let request = encode(&terms, "id").unwrap();
    let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| {
        let status = match headers.get("x-cashu") {
            Some(_) => axum::http::StatusCode::OK,
            None => axum::http::StatusCode::PAYMENT_REQUIRED,
        };
        let headers = [("x-cashu", request.clone())];
        async move { (status, headers, "the data") }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A node whose agent `scout` holds 64 sat at a mint of the sandbox, whose commands
/// reach it, and which holds whatever costs more than 5 sat.
async fn node_with_money() -> (Running, String) {
    let clock: feria::clock::SharedClock = Arc::new(SystemClock);
    let network = feria::lightning::simulated::SimulatedNetwork::open(
        None,
        clock,
        Arc::new(SeededEntropy::new(5)),
    )
    .unwrap();
    let mint = feria::sandbox::mint::SandboxMint::start(feria::sandbox::mint::SandboxMintConfig {
        name: "a".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        input_fee_ppk: 0,
        network: network.clone(),
        data_dir: None,
        seed: [4; 32],
        lifecycle: Lifecycle::default(),
    })
    .await
    .unwrap()
    .url;
    let node = Running::start_with(|config| {
        let folder = config.data_dir.join("policies");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("default.toml"), "approve_above = \"5sat\"").unwrap();
        std::fs::write(
            config.data_dir.join("feria.toml"),
            "network = \"simulated\"",
        )
        .unwrap();
        NodeSeed::from_bytes([7; 64])
            .save_new(&config.data_dir.join("seed"))
            .unwrap();
        config.mints.push(feria::config::MintEntry {
            url: mint.clone(),
            cap: Sat::new(1_000),
        });
    })
    .await;
    node.app.admit_local_commands(node.addresses).await.unwrap();
    let wallets = &node.app.wallets;
    let quote = wallets.request_funding(feria::wallet::TREASURY, &mint, Sat::new(64));
    let quote = quote.await.unwrap();
    network.faucet("bank", Msat::new(100_000)).unwrap();
    let limit = Duration::from_secs(5);
    network
        .pay("bank", &quote.bolt11, Msat::new(1_000), limit)
        .await;
    wallets
        .claim_funding(&quote.quote_id)
        .await
        .unwrap()
        .unwrap();
    let wallet = NewAgentWallet {
        agent: "scout".to_owned(),
        limit: Sat::new(64),
        ttl_secs: 3_600,
        mint: mint.clone(),
    };
    let wallet = wallets.create_agent_wallet(wallet).await.unwrap();
    wallets
        .fund_agent_wallet(&wallet.id, Sat::new(64))
        .await
        .unwrap();
    let url = seller(&mint).await;
    (node, url)
}

impl Running {
    /// Runs a command of this machine.
    async fn feria(&self, arguments: &[&str]) -> (i32, String, Value) {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_feria"))
            .args(["--json", "--data-dir"])
            .arg(self.folder.path())
            .args(arguments)
            .env_clear()
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let text = if output.stdout.is_empty() {
            output.stderr
        } else {
            output.stdout
        };
        let text = String::from_utf8(text).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_default();
        (output.status.code().unwrap(), text, document)
    }
}

#[tokio::test]
async fn policies_are_read_at_start_and_again_on_demand() {
    let node = Running::start_with(|config| {
        let folder = config.data_dir.join("policies");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("scout.toml"), "daily = \"50sat\"").unwrap();
        config.mints.push(feria::config::MintEntry {
            url: "http://127.0.0.1:9".to_owned(),
            cap: Sat::new(1_000),
        });
    })
    .await;
    let wallet = NewAgentWallet {
        agent: "scout".to_owned(),
        limit: Sat::new(100),
        ttl_secs: 3_600,
        mint: "http://127.0.0.1:9".to_owned(),
    };
    node.app.wallets.create_agent_wallet(wallet).await.unwrap();
    let (reader, operator) = (node.token(Tier::ReadOnly).await, node.operator());
    let show = || {
        node.call(
            &reader,
            http::Method::GET,
            "/api/v1/budget?wallet=scout",
            json!({}),
        )
    };
    let file = node.folder.path().join("policies/scout.toml");

    let (_, before) = show().await;
    std::fs::write(&file, "dialy = \"60sat\"").unwrap();
    let reload = || {
        node.call(
            &operator,
            http::Method::POST,
            "/api/v1/budget/reload",
            json!({}),
        )
    };
    let (bad, fault) = reload().await;
    let (_, kept) = show().await;
    std::fs::write(&file, "daily = \"60sat\"").unwrap();
    let (good, names) = reload().await;
    let (_, after) = show().await;

    let limits = |shown: &Value| shown["items"][0]["limits"].clone();
    assert_eq!(limits(&before)[0]["rule"], "total of the wallet");
    assert_eq!(limits(&before)[1]["limit"], 50_000);
    assert_eq!((bad, &fault["code"]), (422, &json!("bad_policy_file")));
    assert!(
        fault["detail"]
            .as_str()
            .unwrap()
            .contains("did you mean `daily`"),
        "{fault}"
    );
    assert_eq!(limits(&kept), limits(&before));
    assert_eq!((good, &names["policies"]), (200, &json!(["scout"])));
    assert_eq!(limits(&after)[1]["limit"], 60_000);
    let simulate = json!({"policy": "daily = \"-1sat\""});
    let (status, refused) = node
        .call(
            &reader,
            http::Method::POST,
            "/api/v1/budget/simulate",
            simulate,
        )
        .await;
    assert_eq!((status, &refused["code"]), (400, &json!("bad_request")));
}

#[tokio::test]
async fn only_the_operator_decides_and_only_once() {
    let node = Running::start().await;
    let approvals = "/api/v1/approvals";
    let operator = node.operator();
    for tier in Tier::ALL {
        let token = node.token(tier).await;
        for verb in ["approve", "deny"] {
            let path = format!("{approvals}/anything/{verb}");
            let (status, refused) = node
                .call(&token, http::Method::POST, &path, json!({}))
                .await;
            assert_eq!(
                (status, &refused["code"]),
                (403, &json!("tier_too_low")),
                "{tier}"
            );
        }
        let (status, listed) = node
            .call(&token, http::Method::GET, approvals, json!({}))
            .await;
        assert_eq!((status, &listed["items"]), (200, &json!([])));
    }
    let path = format!("{approvals}/anything/approve");
    let (status, _) = node
        .call(&operator, http::Method::POST, &path, json!({}))
        .await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_is_approved_by_command_and_goes_through() {
    let (node, url) = node_with_money().await;
    let fetch = ["fetch", "--wallet", "scout", "--idempotency-key", "k", &url];

    let (exit, _, held) = node.feria(&fetch).await;
    let (_, _, listed) = node.feria(&["approval", "list"]).await;
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let (_, waits, _) = node.feria(&["ledger", "why", &id]).await;
    let (approved, _, approval) = node.feria(&["approval", "approve", &id]).await;
    let (twice, _, again) = node.feria(&["approval", "approve", &id]).await;
    let (paid, _, fetched) = node.feria(&fetch).await;
    let (_, why, record) = node.feria(&["ledger", "why", &id]).await;
    let (_, _, budget) = node.feria(&["budget", "show", "scout"]).await;
    let (_, _, audit) = node.feria(&["wallet", "audit", "scout"]).await;

    assert_eq!(
        (exit, &held["code"]),
        (11, &json!("approval_required")),
        "{held}"
    );
    let steps = held["next_steps"].to_string();
    assert!(
        steps.contains(&format!("feria approval approve {id}")),
        "{steps}"
    );
    assert!(steps.contains("idempotency key k"), "{steps}");
    assert!(waits.contains("waits for a person"), "{waits}");
    assert_eq!(
        (approved, &approval["state"]),
        (0, &json!("approved")),
        "{approval}"
    );
    assert_eq!((twice, &again["code"]), (8, &json!("approval_decided")));
    assert_eq!(
        (paid, &fetched["purchase"]["outcome"]),
        (0, &json!("delivered")),
        "{fetched}"
    );
    assert_eq!(fetched["purchase"]["id"], id.as_str());
    assert!(why.contains("a person agreed"), "{why}");
    assert_eq!(record["policy"]["rule"], "approve-above");
    assert_eq!(budget["items"][0]["policy"], "default");
    assert_eq!(budget["items"][0]["limits"][0]["used"], 10_000);
    let kinds = audit["entries"].to_string();
    assert!(
        kinds.contains("held") && kinds.contains("approved"),
        "{kinds}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_that_is_denied_stays_refused() {
    let (node, url) = node_with_money().await;
    let fetch = ["fetch", "--wallet", "scout", "--idempotency-key", "k", &url];
    node.feria(&fetch).await;
    let (_, _, listed) = node.feria(&["approval", "list"]).await;
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();

    let (denied, _, approval) = node
        .feria(&["approval", "deny", &id, "--note", "not today"])
        .await;
    let (late, _, refused) = node.feria(&["approval", "approve", &id]).await;
    let (exit, _, fault) = node.feria(&fetch).await;
    let policy = node.folder.path().join("other.toml");
    std::fs::write(&policy, "daily = \"1sat\"").unwrap();
    let file = policy.to_str().unwrap();
    let (simulated, _, report) = node.feria(&["budget", "simulate", "--policy", file]).await;
    std::fs::write(&policy, "dialy = \"1sat\"").unwrap();
    let (absurd, words, _) = node.feria(&["budget", "simulate", "--policy", file]).await;

    assert_eq!((denied, &approval["state"]), (0, &json!("denied")));
    assert_eq!((late, &refused["code"]), (8, &json!("approval_decided")));
    assert_eq!(
        (exit, &fault["code"]),
        (8, &json!("refused_before")),
        "{fault}"
    );
    assert!(
        fault["message"].as_str().unwrap().contains("not today"),
        "{fault}"
    );
    assert_eq!((simulated, &report["purchases"]), (0, &json!(0)));
    assert_eq!(absurd, 2);
    assert!(words.contains("did you mean `daily`"), "{words}");
}

//! The listeners of a running node: tiers, pages and files for machines.

use std::sync::Arc;
use std::time::Duration;

use feria::access::{IssueRequest, Permission, Tier, permits};
use feria::app::{Addresses, App, AppParts, Listeners};
use feria::clock::{SeededEntropy, SystemClock};
use feria::config::{AgentConfig, Config, Network, NodeSeed};
use feria::http::admin::{OPERATOR_LABEL, table};
use feria::lifecycle::Lifecycle;
use feria_paywall::amount::Msat;

mod approvals;
mod caveats;

struct Running {
    folder: tempfile::TempDir,
    app: App,
    addresses: Addresses,
    http: feria::client::HttpClient,
    seed: NodeSeed,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts a node whose configuration `edit` has changed.
    async fn start_with(edit: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(Network::Simulated, folder.path());
        config.public.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        edit(&mut config);
        AgentConfig {
            summary: "Translates <b>text</b>.".to_owned(),
            ..AgentConfig::new("translate", "http://127.0.0.1:9", Msat::new(21_000))
        }
        .save(folder.path())
        .unwrap();
        let seed = NodeSeed::from_bytes([7; 64]);
        let listeners = Listeners::bind(&mut config).await.unwrap();
        let parts = AppParts {
            seed: seed.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SeededEntropy::new(1)),
            lightning: Vec::new(),
            lifecycle: Lifecycle::default(),
        };
        let app = App::build(config, parts).await.unwrap();
        let addresses = app.start(listeners).await.unwrap();
        Self {
            app,
            addresses,
            http: feria::client::http_client(Duration::from_secs(20)).unwrap(),
            seed,
            folder,
        }
    }

    async fn token(&self, tier: Tier) -> String {
        let request = IssueRequest::new(tier);
        self.app.access.issue(request).await.unwrap().text
    }

    async fn public(&self, path: &str) -> feria::client::HttpResponse {
        let url = format!("http://{}{path}", self.addresses.public);
        self.http.get(url).send().await.unwrap()
    }

    /// Writes the file of the agent `name` and has the node read all of them.
    async fn reload(&self, name: &str, file: &str) -> (u16, serde_json::Value) {
        let path = self.folder.path().join(format!("agents/{name}.toml"));
        std::fs::write(path, file).unwrap();
        let response = self
            .http
            .post(self.admin("/api/v1/agents/reload"))
            .bearer_auth(self.token(Tier::AgentCommerce).await)
            .json(&serde_json::json!({}))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.admin)
    }

    async fn code(&self, method: &http::Method, path: &str, token: &str) -> (u16, String) {
        let request = self
            .http
            .request(method.clone(), self.admin(path))
            .bearer_auth(token)
            .header("content-type", "application/json");
        let body = body_of(path);
        let request = if method == http::Method::POST {
            request.body(body)
        } else {
            request
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let document: serde_json::Value = response.json().await.unwrap();
        let code = document["code"].as_str().unwrap_or_default().to_owned();
        (status, code)
    }
}

/// A body that each route can read, about things that do not exist.
fn body_of(path: &str) -> &'static str {
    match path {
        "/api/v1/wallets" => r#"{"agent":"nobody"}"#,
        "/api/v1/fetch" | "/api/v1/quote" => r#"{"wallet":"nobody","url":"http://127.0.0.1:9/"}"#,
        "/api/v1/pay" => r#"{"wallet":"nobody","invoice":"lnbc1"}"#,
        "/api/v1/invoices" => r#"{"amount_sat":0}"#,
        "/api/v1/transfers" => {
            r#"{"wallet":"nobody","payee":"7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e","amount_sat":1}"#
        }
        "/api/v1/access/tokens" => r#"{"tier":"read-only"}"#,
        "/api/v1/budget/simulate" => r#"{"policy":""}"#,
        path if path.ends_with("/channels") => r#"{"peer":"x","amount_sat":1}"#,
        path if path.ends_with("/freeze") => r#"{"frozen":true}"#,
        path if path.ends_with("/fund") => r#"{"amount_sat":1}"#,
        _ => "{}",
    }
}

fn concrete(path: &str) -> String {
    path.replace("{coordinate}", "31402:00:x")
        .replace("{name}", "nobody")
        .replace("{id}", "nobody")
}

#[tokio::test]
async fn each_route_lets_in_exactly_the_tiers_of_its_permission() {
    let node = Running::start().await;
    for tier in Tier::ALL {
        let token = node.token(tier).await;
        for route in table() {
            let path = concrete(route.path);

            let (status, code) = node.code(&route.method, &path, &token).await;

            let is_denied = status == 403 && code == "tier_too_low";
            assert_eq!(
                is_denied,
                !permits(tier, route.permission),
                "{tier} {} {path}: {status} {code}",
                route.method
            );
            assert_ne!(status, 401, "{tier} {path}");
        }
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_of_this_node() {
    let node = Running::start().await;
    for route in table() {
        let path = concrete(route.path);
        let (status, _) = node.code(&route.method, &path, "nonsense").await;
        assert_eq!(status, 401, "{path}");
    }
    let operator = hex::encode(node.seed.secret(OPERATOR_LABEL));
    let (status, _) = node
        .code(&http::Method::POST, "/api/v1/access/tokens", &operator)
        .await;
    assert_eq!(status, 200);
    assert!(
        table()
            .iter()
            .any(|route| route.permission == Permission::NodeAdmin)
    );
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let node = Running::start().await;

    let response = node
        .http
        .get(node.admin("/healthz"))
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();

    assert_eq!(response.status().as_u16(), 403);
}

#[tokio::test]
async fn the_dashboard_opens_with_a_link_that_works_once() {
    let node = Running::start().await;
    let link = node.admin(&node.app.node.new_dashboard_link());

    let locked = node.http.get(node.admin("/")).send().await.unwrap();
    let opened = node.http.get(&link).send().await.unwrap();
    let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_owned();
    let page = node
        .http
        .get(node.admin("/"))
        .header("cookie", cookie.split(';').next().unwrap())
        .send()
        .await
        .unwrap();
    let again = node.http.get(&link).send().await.unwrap();

    assert_eq!(locked.status().as_u16(), 401);
    assert_eq!(opened.status().as_u16(), 303);
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    assert_eq!(page.status().as_u16(), 200);
    assert_eq!(again.status().as_u16(), 401);
    check_page(&page.text().await.unwrap(), &node.app.config.public.url);
}

/// No page asks another host for anything, and play money is named as such.
#[track_caller]
fn check_page(html: &str, own_url: &str) {
    assert!(html.contains("SIMULATED"), "{html}");
    assert!(!html.contains("<script"), "{html}");
    for attribute in ["src=\"", "href=\"", "action=\"", "url("] {
        for (start, _) in html.match_indices(attribute) {
            let target = &html[start + attribute.len()..];
            assert!(
                target.starts_with('/') && !target.starts_with("//")
                    || target.starts_with('#')
                    || target.starts_with(own_url),
                "{}",
                &target[..target.len().min(60)]
            );
        }
    }
}

#[tokio::test]
async fn the_market_page_shows_what_is_on_offer() {
    let node = Running::start().await;

    let page = node.public("/").await;
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let html = page.text().await.unwrap();
    let searched = node.public("/?q=%3Cscript%3E").await.text().await.unwrap();
    let missing = node.public("/l/31402:00:x").await;

    assert!(policy.contains("default-src 'none'"));
    assert!(html.contains("translate") && html.contains("21 sat"));
    assert!(!html.contains("<b>text</b>"), "foreign text is escaped");
    check_page(&html, &node.app.config.public.url);
    check_page(&searched, &node.app.config.public.url);
    assert_eq!(missing.status().as_u16(), 404);
}

#[tokio::test]
async fn files_for_machines_name_the_priced_route() {
    let node = Running::start().await;
    for path in [
        "/openapi.json",
        "/.well-known/l402.json",
        "/.well-known/l402-services",
        "/.well-known/nostr.json",
        "/.well-known/agent-card.json",
        "/llms.txt",
    ] {
        let response = node.public(path).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert!(
            response.text().await.unwrap().contains("translate"),
            "{path}"
        );
    }
    let openapi: serde_json::Value = node.public("/openapi.json").await.json().await.unwrap();
    let offers = &openapi["paths"]["/a/translate/"]["post"]["x-payment-info"]["offers"];
    assert_eq!(offers[0]["amount"], "21");

    let card = node.public("/card/translate.png").await;
    assert_eq!(card.headers()["content-type"], "image/png");
    assert!(card.bytes().await.unwrap().starts_with(b"\x89PNG\r\n"));
    assert_eq!(node.public("/card/nobody.png").await.status().as_u16(), 404);
}

/// An agent with three paths, one of them free.
const ROUTES: &str = r#"
upstream = "http://127.0.0.1:9"
price = "5sat"
capability = "read"
method = "GET"
path = "/v1/today"

[[routes]]
path = "/v1/models/{name}"
methods = ["GET", "POST"]
price = "7sat"
capability = "models"
uses = 10
trial_calls = 3

[[routes]]
path = "/v1/files/{*rest}"
free = true
"#;

#[tokio::test]
async fn a_reload_takes_all_files_or_none() {
    let node = Running::start().await;
    let before = node.public("/llms.txt").await.text().await.unwrap();

    let (status, report) = node
        .reload("weather", &ROUTES.replace("\"models\"", "\"read\""))
        .await;
    let kept = node.public("/llms.txt").await.text().await.unwrap();
    let (done, reloaded) = node.reload("weather", ROUTES).await;

    let detail = report["detail"].as_str().unwrap();
    assert_eq!((status, &report["code"]), (422, &"bad_agent_file".into()));
    for part in [
        "weather.toml",
        "`routes.capability`",
        "/v1/models/{name}",
        "of its own",
    ] {
        assert!(detail.contains(part), "{detail} lacks {part}");
    }
    assert_eq!(kept, before);
    assert_eq!(done, 200, "{reloaded}");
    assert_eq!(reloaded["changed"], serde_json::json!(["weather"]));
    assert_eq!(reloaded["items"][1]["routes"][1]["price_msat"], 7_000);
    assert_eq!(reloaded["items"][1]["routes"][2]["mode"], "free");
    let (_, again) = node.reload("weather", ROUTES).await;
    assert_eq!(again["changed"], serde_json::json!([]));
}

#[tokio::test]
async fn files_for_machines_name_every_priced_route() {
    let node = Running::start().await;
    node.reload("weather", ROUTES).await;

    let openapi: serde_json::Value = node.public("/openapi.json").await.json().await.unwrap();
    let services: serde_json::Value = node
        .public("/.well-known/l402.json")
        .await
        .json()
        .await
        .unwrap();
    let llms = node.public("/llms.txt").await.text().await.unwrap();

    let models = &openapi["paths"]["/a/weather/v1/models/{name}"];
    for method in ["get", "post"] {
        assert_eq!(models[method]["x-payment-info"]["offers"][0]["amount"], "7");
        assert_eq!(models[method]["parameters"][0]["name"], "name");
    }
    assert_eq!(models["get"]["x-payment-info"]["trial_calls"], 3);
    let free = &openapi["paths"]["/a/weather/v1/files/{rest}"]["get"];
    assert!(
        free.is_object() && free.get("x-payment-info").is_none(),
        "{free}"
    );
    let listed = services["services"].as_array().unwrap();
    let sold: Vec<_> = listed
        .iter()
        .map(|service| &service["capability"])
        .collect();
    assert_eq!(sold, ["call", "read", "models"]);
    assert!(
        llms.contains("/a/weather/v1/models/{name}): GET, POST"),
        "{llms}"
    );
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_that_limits_count() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = format!(
        "upstream = \"http://{}\"\nprice = \"5sat\"\nmethod = \"GET\"\ntrial_calls = 1",
        upstream.local_addr().unwrap()
    );
    let router = axum::Router::new().fallback(|| async { "fine" });
    tokio::spawn(async move { axum::serve(upstream, router).await.unwrap() });
    for (trusted, expected) in [("[\"127.0.0.1\"]", 200), ("[]", 503)] {
        let node = Running::start_with(|config| {
            let table: toml::Table = format!("proxies = {trusted}").parse().unwrap();
            config.public.trusted_proxies = table["proxies"].clone().try_into().unwrap();
        })
        .await;
        node.reload("weather", &file).await;
        let call = |client: &'static str| {
            let url = format!("http://{}/a/weather/", node.addresses.public);
            let request = node.http.get(url).header("x-forwarded-for", client);
            async move { request.send().await.unwrap().status().as_u16() }
        };

        let (first, again) = (call("192.0.2.1").await, call("192.0.2.1").await);
        let other = call("192.0.2.1, 192.0.2.2").await;

        // A node without mints and Lightning has no way to be paid.
        assert_eq!((first, again, other), (200, 503, expected), "{trusted}");
    }
}

#[tokio::test]
async fn shutdown_ends_everything() {
    let node = Running::start().await;

    assert!(node.app.shut_down().await);
}

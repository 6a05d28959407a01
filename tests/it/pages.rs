//! What every page must keep: the network's name, nothing from elsewhere, a strict
//! policy, and no listing that writes into it.

mod paying;

use std::sync::Arc;
use std::time::Duration;

use feria::app::{Addresses, App, AppParts, Listeners};
use feria::client::{HttpClient, HttpResponse, http_client};
use feria::clock::{OffsetClock, SeededEntropy, SystemClock};
use feria::config::{AgentConfig, Config, Network, NodeSeed};
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::{SimulatedBackend, SimulatedNetwork};
use feria::market::OwnAgent;
use feria::protocol::{Listing, Offer};
use feria_paywall::amount::Msat;
use nostr::key::{Keys, SecretKey};

/// The one script there is, on the page of a 402 alone.
const PAY_SCRIPT: &str = "<script src=\"/pay.js\" defer></script>";
/// A stranger's text that would break out of a page, an attribute or a command.
const HOSTILE: &str = "\"><script>alert(1)</script><img src=https://evil.example/x '$(reboot)";

struct Site {
    app: App,
    addresses: Addresses,
    http: HttpClient,
    clock: Arc<OffsetClock>,
    network: SimulatedNetwork,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let translate = AgentConfig {
            summary: HOSTILE.to_owned(),
            uses: 3,
            ..AgentConfig::new("translate", "http://127.0.0.1:9", Msat::new(21_000))
        };
        Self::selling(translate).await
    }

    async fn selling(agent: AgentConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(Network::Simulated, folder.path());
        config.public.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        agent.save(folder.path()).unwrap();
        let clock = Arc::new(OffsetClock::default());
        let network =
            SimulatedNetwork::open(None, clock.clone(), Arc::new(SeededEntropy::new(2))).unwrap();
        let listeners = Listeners::bind(&mut config).await.unwrap();
        let parts = AppParts {
            seed: NodeSeed::from_bytes([7; 64]),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
            lightning: vec![Arc::new(SimulatedBackend::new(network.clone(), "seller"))],
            lifecycle: Lifecycle::default(),
        };
        let app = App::build(config, parts).await.unwrap();
        let addresses = app.start(listeners).await.unwrap();
        Self {
            app,
            addresses,
            http: http_client(Duration::from_secs(20)).unwrap(),
            clock,
            network,
            _folder: folder,
        }
    }

    async fn get(&self, path: &str) -> HttpResponse {
        let url = format!("http://{}{path}", self.addresses.public);
        let request = self.http.get(url).header("accept", "text/html");
        request.send().await.unwrap()
    }

    async fn post(&self, path: &str) -> HttpResponse {
        let url = format!("http://{}{path}", self.addresses.public);
        let request = self.http.post(url).header("accept", "text/html");
        request.send().await.unwrap()
    }

    async fn dashboard(&self) -> HttpResponse {
        let admin = format!("http://{}", self.addresses.admin);
        let link = format!("{admin}{}", self.app.node.new_dashboard_link());
        let opened = self.http.get(link).send().await.unwrap();
        let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_owned();
        let request = self.http.get(format!("{admin}/"));
        let cookie = cookie.split(';').next().unwrap();
        request.header("cookie", cookie).send().await.unwrap()
    }

    /// Checks one answer and returns its text.
    #[track_caller]
    fn check(&self, page: HttpResponse, status: u16) -> impl Future<Output = String> {
        assert_eq!(page.status().as_u16(), status);
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        let own = self.app.config.public.url.clone();
        async move {
            let html = page.text().await.unwrap();
            check_html(&html, &own);
            html
        }
    }
}

fn check_html(html: &str, own: &str) {
    assert!(html.contains("SIMULATED money"), "{html}");
    let html = &html.replacen(PAY_SCRIPT, "", 1);
    for forbidden in [
        "<script",
        "<style",
        " style=\"",
        " onclick",
        "<img src=https",
    ] {
        assert!(!html.contains(forbidden), "{forbidden} in {html}");
    }
    for attribute in ["src=\"", "href=\"", "action=\"", "url("] {
        for (start, _) in html.match_indices(attribute) {
            let target = &html[start + attribute.len()..];
            let is_own = target.starts_with('/') && !target.starts_with("//")
                || target.starts_with('#')
                || target.starts_with("lightning:")
                || target.starts_with(own);
            assert!(is_own, "{}", target.chars().take(60).collect::<String>());
        }
    }
}

/// A listing of a stranger whose every text is hostile.
fn hostile_listing() -> OwnAgent {
    let now = feria::clock::Clock::now(&SystemClock);
    OwnAgent {
        keys: Keys::new(SecretKey::from_slice(&[9; 32]).unwrap()),
        listing: Listing {
            d_tag: "evil".to_owned(),
            name: HOSTILE.to_owned(),
            summary: HOSTILE.to_owned(),
            urls: vec!["https://evil.example/a".to_owned()],
            offers: vec![Offer {
                capability: HOSTILE.to_owned(),
                description: HOSTILE.to_owned(),
                price: Msat::new(21_000),
                endpoint: "/v1".to_owned(),
                method: "POST".to_owned(),
            }],
            topics: vec![HOSTILE.to_owned()],
            rails: vec!["l402".to_owned(), HOSTILE.to_owned()],
            mints: Vec::new(),
            image: None,
            published_at: now,
            expires_at: None,
            is_active: true,
        },
        write_relays: Vec::new(),
        inbox_relays: Vec::new(),
        lock_key: None,
        mints: Vec::new(),
        node_url: "https://evil.example".to_owned(),
    }
}

#[tokio::test]
async fn every_page_names_the_network_and_loads_nothing_from_elsewhere() {
    let site = Site::start().await;

    let market = site.check(site.get("/").await, 200).await;
    site.check(site.get("/?q=%22%3E%3Cscript%3E&rail=x&max=y").await, 200)
        .await;
    site.check(site.get("/l/nope").await, 404).await;
    site.check(site.get("/nope").await, 404).await;
    site.check(site.get("/a/nobody/").await, 404).await;
    let called = site.check(site.get("/a/translate/").await, 405).await;
    let overview = site.check(site.dashboard().await, 200).await;
    let locked = site.http.get(format!("http://{}/", site.addresses.admin));
    site.check(locked.send().await.unwrap(), 401).await;

    assert!(market.contains("One agent sells here") && market.contains("21 sat"));
    assert!(market.contains("for 3 calls") && market.contains("/openapi.json"));
    assert!(called.contains("curl -i -X POST"));
    assert!(overview.contains("Everything adds up"));
    assert!(overview.contains("feria wallet create"), "{overview}");
}

#[tokio::test]
async fn the_pay_page_says_price_uses_invoice_and_refund() {
    let site = Site::start().await;

    let html = site.check(site.post("/a/translate/").await, 402).await;

    for said in [
        "21 sat",
        "buys 3 calls",
        "lnbcrt",
        "<svg",
        "Authorization: L402 ",
        "/v1/refund",
        "play money",
        "Payable for 10 minutes",
        "Is it paid?",
    ] {
        assert!(html.contains(said), "{said} in {html}");
    }
}

#[tokio::test]
async fn a_hostile_listing_is_only_text() {
    let site = Site::start().await;
    let agent = hostile_listing();
    site.app.node.market.publisher.publish(&agent).await;
    let address = format!("31402:{}:evil", agent.keys.public_key().to_hex());

    let market = site.check(site.get("/").await, 200).await;
    let listing = site
        .check(site.get(&format!("/l/{address}")).await, 200)
        .await;

    for html in [market, listing] {
        assert!(html.contains("&#60;script&#62;"), "{html}");
        assert!(!html.contains(PAY_SCRIPT), "{html}");
    }
}

#[tokio::test]
async fn programs_get_no_page_where_nothing_is() {
    let site = Site::start().await;
    let url = format!("http://{}/nope", site.addresses.public);

    let answer = site.http.get(url).send().await.unwrap();

    assert_eq!(answer.status().as_u16(), 404);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

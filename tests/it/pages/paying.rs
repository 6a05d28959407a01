//! The page of a 402 after it is there: how it learns that its invoice was paid,
//! and what it does with a preimage.

use std::time::Duration;

use feria::client::HttpResponse;
use feria::config::AgentConfig;
use feria::lightning::PaymentState;
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::{PAY_SCRIPT, Site};

/// No test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A 402 in a browser: its invoice, and where its state is told.
struct Page {
    html: String,
    invoice: String,
    events: String,
}

impl Site {
    async fn selling_to_browsers() -> Self {
        let mut agent = AgentConfig::new("weather", "http://127.0.0.1:9", Msat::new(21_000));
        agent.method = "GET".to_owned();
        Self::selling(agent).await
    }

    async fn open_page(&self) -> Page {
        let html = self.check(self.get("/a/weather/").await, 402).await;
        let part = |start: &str, end: &str| {
            let from = html.find(start).unwrap() + start.len();
            html[from..].split(end).next().unwrap().to_owned()
        };
        Page {
            invoice: part("href=\"lightning:", "\""),
            events: part("data-events=\"", "\""),
            html,
        }
    }

    async fn ask(&self, path: &str, accept: &str) -> HttpResponse {
        let url = format!("http://{}{path}", self.addresses.public);
        let request = self.http.get(url).header("accept", accept);
        request.send().await.unwrap()
    }

    async fn state(&self, page: &Page) -> (u16, Value) {
        let answer = self.ask(&page.events, "application/json").await;
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn follow(&self, page: &Page) -> HttpResponse {
        self.ask(&page.events, "text/event-stream").await
    }

    async fn pay(&self, page: &Page) {
        self.network.faucet("buyer", Msat::new(30_000)).unwrap();
        let limit = Msat::new(1_000);
        let paid = self
            .network
            .pay("buyer", &page.invoice, limit, PATIENCE)
            .await;
        assert!(matches!(paid, PaymentState::Succeeded { .. }), "{paid:?}");
    }
}

/// Reads `stream` to the end of its next event and returns the data of it; `None`
/// when it ends.
async fn next_state(stream: &mut HttpResponse) -> Option<Value> {
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if let Some((event, _)) = text.split_once("\n\n") {
            assert!(event.contains("event: state"), "{event}");
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            return Some(serde_json::from_str(data.unwrap()).unwrap());
        }
    }
    None
}

#[tokio::test]
async fn only_the_pay_page_runs_the_one_script() {
    let site = Site::selling_to_browsers().await;

    let page = site.get("/a/weather/").await;
    let policy = page.headers()["content-security-policy"].clone();
    let market = site.get("/").await;
    let elsewhere = market.headers()["content-security-policy"].clone();
    let script = site.get("/pay.js").await;

    assert_eq!(
        policy,
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    assert!(!elsewhere.to_str().unwrap().contains("script-src"));
    assert!(site.check(page, 402).await.contains(PAY_SCRIPT));
    let kind = script.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(kind, "text/javascript; charset=utf-8");
    let script = script.text().await.unwrap();
    for forbidden in [
        "innerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Storage",
        "cookie",
        "://",
        "history.",
    ] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn a_preimage_can_be_pasted_where_a_browser_can_repeat_the_call() {
    let get = Site::selling_to_browsers().await;
    let post = Site::start().await;

    let page = get.open_page().await;
    let other = post.check(post.post("/a/translate/").await, 402).await;

    let form = page.html.split("<form").nth(1).unwrap();
    let form = form.split("</form>").next().unwrap();
    // A field without a name is in no address, whoever submits the form.
    assert!(form.contains("hidden>") && form.contains("id=\"preimage\""));
    assert!(
        !form.contains("name=") && !form.contains("action="),
        "{form}"
    );
    assert!(form.contains("data-macaroon=\"AgEEbHNhd"), "{form}");
    assert!(page.html.contains("curl http://"));
    assert!(!other.contains("<form") && other.contains("curl -X POST http://"));
}

#[tokio::test]
async fn the_state_of_an_invoice_follows_its_payment() {
    let site = Site::selling_to_browsers().await;
    let (paid, unpaid) = (site.open_page().await, site.open_page().await);

    let (status, waiting) = site.state(&paid).await;
    site.pay(&paid).await;
    let (_, after) = site.state(&paid).await;
    let (_, still) = site.state(&unpaid).await;
    site.clock.advance(Duration::from_secs(601));
    let (_, expired) = site.state(&unpaid).await;
    let (_, kept) = site.state(&paid).await;

    assert_eq!((status, &waiting["state"]), (200, &json!("waiting")));
    assert!(waiting["expires_at"].is_u64(), "{waiting}");
    assert_eq!(after, json!({"state": "paid"}));
    assert_eq!(still["state"], "waiting");
    assert_eq!(expired, json!({"state": "expired"}));
    assert_eq!(kept, after);
    let audit = site.app.node.ledger.audit().await.unwrap();
    assert_eq!(
        audit.entries, 0,
        "an unused payment was booked by a question"
    );
}

#[tokio::test]
async fn an_invoice_that_is_not_ours_is_not_found() {
    let site = Site::selling_to_browsers().await;
    let bread = site
        .network
        .create_invoice("baker", Msat::new(1_000), "bread", PATIENCE)
        .await
        .unwrap();

    for hash in [
        bread.payment_hash.to_string(),
        "00".repeat(32),
        "nonsense".to_owned(),
        "0".repeat(100_000 / 4),
    ] {
        for accept in ["application/json", "text/event-stream", "text/html"] {
            let path = format!("/v1/invoices/{hash}/events");
            let answer = site.ask(&path, accept).await;
            assert_eq!(answer.status().as_u16(), 404, "{accept}");
        }
    }
}

#[tokio::test]
async fn a_stream_tells_the_payment_and_ends() {
    let site = Site::selling_to_browsers().await;
    let page = site.open_page().await;

    let mut stream = site.follow(&page).await;
    let kind = stream.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let first = next_state(&mut stream).await.unwrap();
    site.pay(&page).await;
    let second = next_state(&mut stream).await;

    assert_eq!(kind, "text/event-stream");
    assert_eq!(first["state"], "waiting");
    assert_eq!(second, Some(json!({"state": "paid"})));
    assert_eq!(next_state(&mut stream).await, None);
}

#[tokio::test]
async fn without_script_a_page_asks_again_by_itself_until_it_knows() {
    let site = Site::selling_to_browsers().await;
    let page = site.open_page().await;

    let waiting = site.ask(&page.events, "text/html").await;
    let again = waiting.headers()["refresh"].to_str().unwrap().to_owned();
    let waiting = site.check(waiting, 200).await;
    site.pay(&page).await;
    let paid = site.ask(&page.events, "text/html").await;
    let is_final = !paid.headers().contains_key("refresh");
    let paid = site.check(paid, 200).await;

    assert_eq!(again, "5");
    assert!(waiting.contains("Waiting for the payment"), "{waiting}");
    assert!(is_final && paid.contains("<h1>Paid</h1>"), "{paid}");
}

#[tokio::test]
async fn one_client_holds_a_few_streams_and_gives_them_back() {
    let site = Site::selling_to_browsers().await;
    let page = site.open_page().await;

    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = site.follow(&page).await;
        assert!(next_state(&mut stream).await.is_some());
        open.push(stream);
    }
    let refused = site.follow(&page).await;
    site.pay(&page).await;
    for stream in &mut open {
        assert_eq!(next_state(stream).await, Some(json!({"state": "paid"})));
        assert_eq!(next_state(stream).await, None);
    }
    let admitted = site.follow(&page).await;

    assert_eq!(refused.status().as_u16(), 429);
    assert_eq!(refused.headers()["retry-after"], "15");
    assert_eq!(admitted.status().as_u16(), 200);
}

#[tokio::test]
async fn a_client_that_asks_too_often_waits() {
    let site = Site::selling_to_browsers().await;
    let page = site.open_page().await;

    let mut refused = 0;
    for _ in 0..90 {
        let answer = site.ask(&page.events, "application/json").await;
        if answer.status().as_u16() == 429 {
            assert!(answer.headers().contains_key("retry-after"));
            refused += 1;
        }
    }
    site.clock.advance(Duration::from_secs(60));
    let (status, _) = site.state(&page).await;

    // The bucket fills a little while the questions go out.
    assert!((20..=30).contains(&refused), "{refused}");
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_silent_backend_is_said_and_does_not_end_a_stream() {
    let site = Site::selling_to_browsers().await;
    let page = site.open_page().await;
    let mut stream = site.follow(&page).await;
    assert!(next_state(&mut stream).await.is_some());

    site.network.set_down(true);
    let (status, problem) = site.state(&page).await;
    site.network.set_down(false);
    site.pay(&page).await;

    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("lightning_unavailable"))
    );
    assert_eq!(
        next_state(&mut stream).await,
        Some(json!({"state": "paid"}))
    );
}

#[tokio::test]
async fn open_streams_do_not_hold_up_a_shutdown() {
    let site = Site::selling_to_browsers().await;
    let page = site.open_page().await;
    let mut stream = site.follow(&page).await;
    assert!(next_state(&mut stream).await.is_some());

    let is_down = site.app.shut_down().await;

    assert!(is_down);
    assert_eq!(next_state(&mut stream).await, None);
}

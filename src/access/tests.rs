//! Every tier against every permission, and every way to cheat.

use std::sync::Arc;
use std::time::Duration;

use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::{Caveat, Issuer, Macaroon};
use proptest::prelude::*;

use super::*;
use crate::clock::{Clock as _, ManualClock, SeededEntropy};
use crate::store::ledger::Ledger;

const SECRET: [u8; 32] = [7; 32];
const START: u64 = 1_800_000_000;

struct Desk {
    access: Access,
    ledger: Ledger,
    clock: Arc<ManualClock>,
}

fn desk() -> Desk {
    let ledger = Ledger::in_memory().unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let entropy = Arc::new(SeededEntropy::new(1));
    Desk {
        access: Access::new(SECRET, ledger.clone(), clock.clone(), entropy),
        ledger,
        clock,
    }
}

impl Desk {
    async fn issue(&self, request: IssueRequest) -> String {
        self.access.issue(request).await.unwrap().text
    }

    /// Returns `ok` or the sentence of the refusal.
    async fn ask(&self, text: &str, request: Request<'_>) -> String {
        let request = Request {
            now: self.clock.now(),
            ..request
        };
        match self.access.verify(text, &request).await {
            Ok(_) => "ok".to_owned(),
            Err(denied) => denied.to_string(),
        }
    }
}

/// A call that names everything a route could name.
fn call(permission: Permission) -> Request<'static> {
    Request {
        agent: Some("research"),
        host: Some("api.example"),
        rail: Some("cashu"),
        amount: Some(Msat::new(1_000)),
        ..Request::new(permission, 0)
    }
}

fn commerce() -> IssueRequest {
    IssueRequest::new(Tier::AgentCommerce)
}

#[tokio::test]
async fn every_tier_permits_its_cells_and_no_other() {
    const TABLE: [(Tier, &str); 4] = [
        (Tier::ReadOnly, "browse"),
        (Tier::InvoiceOnly, "browse invoice"),
        (Tier::PayOnly, "browse pay"),
        (
            Tier::AgentCommerce,
            "browse invoice pay transfer listing wallet-admin",
        ),
    ];
    let desk = desk();
    for (tier, expected) in TABLE {
        let token = desk.issue(IssueRequest::new(tier)).await;
        let mut allowed = Vec::new();
        for permission in Permission::ALL {
            let answer = desk.ask(&token, call(permission)).await;
            if answer == "ok" {
                allowed.push(permission.as_str());
            } else {
                let refusal = format!("{tier} does not include {permission}");
                assert!(answer.starts_with(&refusal), "{answer}");
            }
        }
        assert_eq!(allowed.join(" "), expected, "{tier}");
        assert_eq!(tier.as_str().parse(), Ok(tier));
    }
    assert!("admin".parse::<Tier>().is_err());
}

#[tokio::test]
async fn a_tampered_token_is_not_ours() {
    let desk = desk();
    let token = desk.issue(IssueRequest::new(Tier::ReadOnly)).await;
    let macaroon = Macaroon::parse(&token).unwrap();
    let at = macaroon
        .as_bytes()
        .windows(9)
        .position(|window| window == b"read-only")
        .unwrap();
    let mut bytes = macaroon.as_bytes().to_vec();
    bytes[at..at + 8].copy_from_slice(b"pay-only");
    let tampered = Macaroon::from_bytes(&bytes).unwrap().to_base64_url();
    let foreign = Issuer::new(&[8; 32])
        .issue_bytes(&macaroon.identifier(), &macaroon.caveats().unwrap())
        .unwrap()
        .to_base64_url();

    for text in [tampered.as_str(), foreign.as_str(), "", "nonsense", "AgEE"] {
        let answer = desk.ask(text, call(Permission::Browse)).await;
        assert!(answer.contains("not a token of this node"), "{answer}");
    }
}

#[tokio::test]
async fn a_narrowed_copy_does_less_and_the_original_as_before() {
    let desk = desk();
    let original = desk.issue(commerce()).await;
    let narrowed = attenuate(
        &original,
        &[
            Restriction::Tier(Tier::PayOnly),
            Restriction::Agent("research".to_owned()),
            Restriction::Hosts(vec!["api.example".to_owned(), "b.example".to_owned()]),
            Restriction::Rails(vec!["cashu".to_owned()]),
            Restriction::MaxAmount(Msat::new(1_000)),
            Restriction::ExpiresAt(START + 60),
        ],
    )
    .unwrap();
    let pay = call(Permission::Pay);

    assert_eq!(desk.ask(&narrowed, pay).await, "ok");
    assert_eq!(desk.ask(&narrowed, call(Permission::Browse)).await, "ok");
    for (request, part) in [
        (
            call(Permission::Invoice),
            "pay-only does not include invoice",
        ),
        (
            Request {
                agent: Some("other"),
                ..pay
            },
            "acts only for agent research; the call is for other",
        ),
        (
            Request {
                host: Some("evil.example"),
                ..pay
            },
            "pays only api.example, b.example; the call is for evil.example",
        ),
        (
            Request {
                rail: Some("lightning"),
                ..pay
            },
            "pays only by cashu; the call is for lightning",
        ),
        (
            Request {
                amount: Some(Msat::new(1_001)),
                ..pay
            },
            "at most 1 sat a call",
        ),
    ] {
        let answer = desk.ask(&narrowed, request).await;
        assert!(answer.contains(part), "{answer}");
        assert_eq!(desk.ask(&original, request).await, "ok");
    }
}

#[tokio::test]
async fn what_a_call_does_not_name_a_restricted_token_refuses() {
    let desk = desk();
    let token = desk
        .issue(IssueRequest {
            agent: Some("research".to_owned()),
            max_amount: Some(Sat::new(1).to_msat()),
            hosts: vec!["api.example".to_owned()],
            rails: vec!["cashu".to_owned()],
            ..commerce()
        })
        .await;
    let pay = call(Permission::Pay);

    assert_eq!(desk.ask(&token, pay).await, "ok");
    for request in [
        Request { agent: None, ..pay },
        Request { host: None, ..pay },
        Request { rail: None, ..pay },
        Request {
            amount: None,
            ..pay
        },
        // Ecash by message has no host, so a token bound to hosts cannot send it.
        Request {
            host: None,
            ..call(Permission::Transfer)
        },
        Request::new(Permission::Invoice, 0),
    ] {
        assert_ne!(desk.ask(&token, request).await, "ok", "{request:?}");
    }
    let browse = Request::new(Permission::Browse, 0);
    assert_eq!(desk.ask(&token, browse).await, "ok");
}

#[tokio::test]
async fn a_widened_copy_stays_as_narrow() {
    let desk = desk();
    let token = desk
        .issue(IssueRequest {
            agent: Some("research".to_owned()),
            expires_at: Some(START + 60),
            max_amount: Some(Msat::new(1_000)),
            hosts: vec!["api.example".to_owned()],
            ..IssueRequest::new(Tier::ReadOnly)
        })
        .await;
    let widened = attenuate(
        &token,
        &[
            Restriction::Tier(Tier::AgentCommerce),
            Restriction::Agent("treasury".to_owned()),
            Restriction::ExpiresAt(START + 9_000),
            Restriction::MaxAmount(Msat::new(9_000_000)),
            Restriction::Hosts(vec!["evil.example".to_owned()]),
        ],
    )
    .unwrap();

    let answer = desk.ask(&widened, call(Permission::Pay)).await;
    assert!(
        answer.contains("read-only does not include pay"),
        "{answer}"
    );
    desk.clock.advance(Duration::from_secs(60));
    let browse = Request::new(Permission::Browse, 0);
    let answer = desk.ask(&widened, browse).await;
    assert!(answer.contains("ended at 1800000060"), "{answer}");
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let desk = desk();
    let token = desk
        .issue(IssueRequest {
            expires_at: Some(START + 60),
            ..commerce()
        })
        .await;
    desk.clock.advance(Duration::from_secs(59));
    assert_eq!(desk.ask(&token, call(Permission::Pay)).await, "ok");

    desk.clock.advance(Duration::from_secs(1));

    let answer = desk.ask(&token, call(Permission::Pay)).await;
    assert!(answer.contains("ended at 1800000060"), "{answer}");
}

#[tokio::test]
async fn revoking_ends_a_token_and_its_narrowed_copies() {
    let desk = desk();
    let issued = desk.access.issue(commerce()).await.unwrap();
    let other = desk.issue(commerce()).await;
    let copy = attenuate(&issued.text, &[Restriction::Tier(Tier::PayOnly)]).unwrap();
    assert_eq!(desk.ask(&copy, call(Permission::Pay)).await, "ok");
    desk.clock.advance(Duration::from_secs(5));

    assert!(desk.access.revoke(&issued.id).await.unwrap());
    desk.clock.advance(Duration::from_secs(5));
    assert!(desk.access.revoke(&issued.id).await.unwrap());

    for text in [&issued.text, &copy] {
        let answer = desk.ask(text, call(Permission::Pay)).await;
        assert!(answer.contains("was revoked"), "{answer}");
    }
    assert_eq!(desk.ask(&other, call(Permission::Pay)).await, "ok");
    assert!(!desk.access.revoke("unknown").await.unwrap());
    let listed = desk.access.list(10).await.unwrap();
    assert_eq!(listed.len(), 2);
    let row = listed.iter().find(|row| row.id == issued.id).unwrap();
    assert_eq!(row.revoked_at, Some(START + 5));
}

#[tokio::test]
async fn an_unknown_caveat_fails_closed() {
    let desk = desk();
    let token = desk.issue(commerce()).await;
    for text in [
        "moon=full",
        "expires_at=soon",
        "max_amount_msat=+1",
        "host=",
    ] {
        let caveat = Caveat::parse(text.as_bytes()).unwrap();
        let odd = Macaroon::parse(&token).unwrap().attenuate(&caveat).unwrap();
        let answer = desk
            .ask(&odd.to_base64_url(), call(Permission::Browse))
            .await;
        assert!(
            answer.contains("unknown or unreadable condition"),
            "{answer}"
        );
        let inspection = inspect(&odd.to_base64_url()).unwrap();
        assert_eq!(inspection.unknown, [text]);
        assert!(inspection.allowed.is_empty());
    }
}

#[tokio::test]
async fn a_token_without_a_row_is_refused() {
    let desk = desk();
    let elsewhere = self::desk().issue(commerce()).await;
    let answer = desk.ask(&elsewhere, call(Permission::Browse)).await;
    assert!(answer.contains("no record of the token"), "{answer}");
}

#[tokio::test]
async fn a_macaroon_signed_for_another_purpose_is_refused() {
    let desk = desk();
    let issuer = Issuer::new(&SECRET);
    let l402 = issuer.issue_bytes(&[0; 66], &[]).unwrap().to_base64_url();
    let issued = desk.access.issue(commerce()).await.unwrap();
    let identifier = format!("feria-access:{}", issued.id);
    let bare = issuer
        .issue_bytes(identifier.as_bytes(), &[])
        .unwrap()
        .to_base64_url();

    for text in [&l402, &bare] {
        let answer = desk.ask(text, call(Permission::Browse)).await;
        assert!(answer.contains("not a token of this node"), "{answer}");
    }
    assert_eq!(inspect(&l402), Err(TokenTextError::OtherPurpose));
    assert!(inspect(&bare).unwrap().allowed.is_empty());
}

#[tokio::test]
async fn the_holder_reads_his_token_without_the_node() {
    let desk = desk();
    let issued = desk
        .access
        .issue(IssueRequest {
            agent: Some("research".to_owned()),
            max_amount: Some(Msat::new(50_000)),
            ..commerce()
        })
        .await
        .unwrap();
    let narrowed: Vec<Restriction> = ["tier=pay-only", "rail=cashu,lightning", "expires_at=9"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();

    let inspection = inspect(&attenuate(&issued.text, &narrowed).unwrap()).unwrap();

    assert_eq!(inspection.id, issued.id);
    assert_eq!(inspection.tier, Some(Tier::AgentCommerce));
    assert_eq!(inspection.allowed, [Permission::Browse, Permission::Pay]);
    assert_eq!(inspection.expires_at, Some(9));
    assert_eq!(
        inspection.sentences,
        [
            "may do what agent-commerce permits",
            "acts only for agent research",
            "at most 50 sat a call",
            "may do what pay-only permits",
            "pays only by cashu, lightning",
            "ends at 9 (Unix seconds)",
        ]
    );
    assert!(!format!("{issued:?}").contains(&issued.text));
}

#[tokio::test]
async fn a_restriction_that_would_read_otherwise_is_not_written() {
    let desk = desk();
    for request in [
        IssueRequest {
            hosts: vec!["a,b".to_owned()],
            ..commerce()
        },
        IssueRequest {
            agent: Some(String::new()),
            ..commerce()
        },
        IssueRequest {
            agent: Some("a\nb".to_owned()),
            ..commerce()
        },
    ] {
        let refused = desk.access.issue(request).await;
        assert!(matches!(refused, Err(AccessError::Restriction(_))));
    }
    assert!(desk.ledger.list_access_tokens(10).await.unwrap().is_empty());
}

proptest! {
    #[test]
    fn reading_a_token_never_panics(text in "\\PC{0,200}") {
        let _ = inspect(&text);
        let _ = attenuate(&text, &[Restriction::ExpiresAt(1)]);
    }

    #[test]
    fn a_restriction_prints_what_it_parses(
        text in "(tier=pay-only|agent=[a-z]{0,5}|expires_at=[0-9+]{0,21}|host=[a-z,. ]{0,9}|rail=[a-z,]{0,9}|[a-z]{0,4}=?)"
    ) {
        if let Ok(restriction) = text.parse::<Restriction>() {
            let caveat = restriction.to_caveat().unwrap();
            prop_assert_eq!(Restriction::from_caveat(&caveat), Ok(restriction));
        }
    }
}

#[tokio::test]
async fn copies_of_a_token_share_its_window() {
    let desk = desk();
    let issued = desk.issue(commerce()).await;
    let slip = attenuate(&issued, &["window_msat=1000/60".parse().unwrap()]).unwrap();
    let copy = attenuate(&slip, &["rail=cashu".parse().unwrap()]).unwrap();
    let elsewhere = attenuate(&issued, &["window_msat=1000/61".parse().unwrap()]).unwrap();
    let spend = |text: String, msat: u64| {
        let request = Request {
            amount: Some(Msat::new(msat)),
            now: desk.clock.now(),
            ..call(Permission::Pay)
        };
        let access = &desk.access;
        async move { access.reserve(&text, &request).await }
    };

    let first = spend(slip.clone(), 600).await.unwrap().unwrap();
    let full = spend(copy.clone(), 401).await;
    let fits = spend(copy.clone(), 400).await.unwrap();
    desk.access.settle(&first, Msat::new(100)).await.unwrap();
    let after = spend(slip.clone(), 500).await.unwrap();
    let other = spend(elsewhere, 1_000).await.unwrap();
    desk.clock.advance(Duration::from_secs(60));
    let later = spend(slip.clone(), 1_000).await.unwrap();
    let too_much = spend(slip, 1_001).await;

    assert!(
        matches!(&full, Err(Denied::Window { used, .. }) if *used == Msat::new(600)),
        "{full:?}"
    );
    assert!(fits.is_some() && after.is_some() && other.is_some() && later.is_some());
    assert!(matches!(too_much, Err(Denied::Amount { .. })));
    assert_eq!(spend(issued, 5_000).await.unwrap(), None);
}

#[test]
fn windows_that_cannot_be_are_not_read() {
    for text in [
        "window_msat=5",
        "window_msat=/5",
        "window_msat=5/",
        "window_msat=5/0",
        "window_msat=-5/60",
        "window_msat=5/99999999999",
        "window_msat=99999999999999999999/60",
        "method=",
        "method=GET,,POST",
    ] {
        assert!(text.parse::<Restriction>().is_err(), "{text}");
    }
}

//! Ecash by message between two nodes: a real mint, a real relay, real sockets.

mod strangers;
mod world;

use std::time::Duration;

use feria::clock::Clock;
use feria::store::ledger::transfers::{Direction, TransferRow};
use feria::transfer::{Inbox, Taken, TransferError, TransferState};
use feria::wallet::TREASURY;
use feria_paywall::amount::Sat;
use nostr::event::{FinalizeEvent, Kind, Tag, UnsignedEvent};
use nostr::key::{Keys, SecretKey};
use nostr::nips::nip59::GiftWrapBuilder;
use nostr::types::Timestamp;

use self::world::{World, eventually};

#[tokio::test]
async fn a_payment_arrives_is_acknowledged_and_booked_on_both_sides() {
    let world = World::new().await;
    world.announce().await;
    world.read_messages(&world.payer);
    world.read_messages(&world.payee);

    let sent = world.pay(250).await.unwrap();

    let (payer, payee) = (&world.payer, &world.payee);
    eventually(async || world.state(payer, &sent.id).await == TransferState::Claimed).await;
    assert_eq!(world.held(payee).await, 250);
    let received = payee.transfers.list().await.unwrap().remove(0);
    assert_eq!(received.amount_sat, 250);
    assert_eq!(received.memo, "for the data");
    assert_eq!(received.state, TransferState::Acknowledged);
    for (node, sign) in [(payer, 1), (payee, -1)] {
        let audit = node.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!(
            audit.class_msat("assets"),
            i64::try_from(world.held(node).await * 1_000).unwrap()
        );
        let moved = audit.balances["external:transfers"];
        assert!(
            moved * sign >= 250_000 && moved * sign <= 252_000,
            "{moved}"
        );
        assert!(node.wallets.verify_books().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_payee_without_records_is_not_paid() {
    let world = World::new().await;

    let refused = world.pay(250).await;

    assert!(
        matches!(refused, Err(TransferError::NotReachable { .. })),
        "{refused:?}"
    );
    assert_eq!(world.held(&world.payer).await, 1_000);
    assert!(world.payer.transfers.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn more_than_the_wallet_holds_is_not_sent() {
    let world = World::new().await;
    world.announce().await;

    let refused = world.pay(2_000).await;

    assert!(
        matches!(refused, Err(TransferError::Wallet(_))),
        "{refused:?}"
    );
    assert_eq!(world.held(&world.payer).await, 1_000);
}

#[tokio::test]
async fn a_message_counts_once_however_often_it_comes() {
    let world = World::new().await;
    let (_, wrap, rumor) = world.payment().await;
    let (payee, inbox) = (&world.payee, world.inbox(&world.payee));

    let first = payee.transfers.take(&inbox, &wrap).await.unwrap();
    let replayed = payee.transfers.take(&inbox, &wrap).await.unwrap();
    let same_proofs = world.deliver(&world.payer.keys, &rumor.content).await;

    assert_eq!(first, Taken::Received { amount_sat: 250 });
    assert_eq!(replayed, Taken::Duplicate);
    assert_eq!(same_proofs, Taken::Duplicate);
    assert_eq!(world.held(payee).await, 250);
}

#[tokio::test]
async fn ecash_that_cannot_be_ours_is_left_alone() {
    let world = World::new().await;
    let (_, wrap, rumor) = world.payment().await;
    let altered = |change: fn(&mut serde_json::Value)| {
        let mut payload = serde_json::from_str(&rumor.content).unwrap();
        change(&mut payload);
        payload.to_string()
    };
    let foreign = altered(|payload| payload["mint"] = "https://mint.example".into());
    let dollars = altered(|payload| payload["unit"] = "usd".into());
    let empty = altered(|payload| payload["proofs"] = serde_json::json!([]));
    let many = altered(|payload| payload["proofs"] = vec![payload["proofs"][0].clone(); 33].into());
    let twice = altered(|payload| payload["proofs"] = vec![payload["proofs"][0].clone(); 2].into());
    let forged = altered(|payload| payload["proofs"][0]["dleq"]["s"] = "11".repeat(32).into());

    let payer = &world.payer.keys;
    assert_eq!(world.deliver(payer, &foreign).await, Taken::Kept);
    for (content, word) in [
        (dollars, "satoshi"),
        (empty, "1 to 32"),
        (many, "1 to 32"),
        (twice, "twice"),
        (forged, "never signed"),
    ] {
        let taken = world.deliver(payer, &content).await;
        assert!(
            matches!(&taken, Taken::Refused(reason) if reason.contains(word)),
            "{taken:?}"
        );
    }
    let other = Inbox {
        agent: "other".to_owned(),
        ..world.inbox(&world.payee)
    };
    let taken = world.payee.transfers.take(&other, &wrap).await.unwrap();
    assert!(
        matches!(&taken, Taken::Refused(reason) if reason.contains("locked_to_another_key")),
        "{taken:?}"
    );
    assert_eq!(world.held(&world.payee).await, 0);
}

#[tokio::test]
async fn an_acknowledgement_of_a_stranger_changes_nothing() {
    let world = World::new().await;
    let (sent, _, rumor) = world.payment().await;
    let stranger = Keys::new(SecretKey::from_slice(&[77; 32]).unwrap());
    let answer = UnsignedEvent::new(
        stranger.public_key(),
        Timestamp::from(world.clock.now()),
        Kind::PrivateDirectMessage,
        [Tag::custom("e", [rumor.compute_id().to_hex()])],
        "{\"type\":\"feria/transfer-received\"}",
    );
    let to = world.payer.keys.public_key();
    let wrap = GiftWrapBuilder::new(to, answer)
        .finalize(&stranger)
        .unwrap();

    let inbox = world.inbox(&world.payer);
    let taken = world.payer.transfers.take(&inbox, &wrap).await.unwrap();

    assert_eq!(taken, Taken::Ignored);
    assert_eq!(
        world.state(&world.payer, &sent.id).await,
        TransferState::Sent
    );
}

#[tokio::test]
async fn an_unread_payment_is_sent_again_and_counts_once() {
    let world = World::new().await;
    let (sent, ..) = world.payment().await;
    world.clock.advance(Duration::from_secs(601));

    let report = world.payer.transfers.reconcile().await.unwrap();

    assert_eq!(report.resent, 1);
    let wraps = world.messages(&world.payee).await;
    assert_eq!(wraps.len(), 2);
    let inbox = world.inbox(&world.payee);
    let mut taken = Vec::new();
    for wrap in &wraps {
        taken.push(world.payee.transfers.take(&inbox, wrap).await.unwrap());
    }
    assert_eq!(
        taken,
        [Taken::Received { amount_sat: 250 }, Taken::Duplicate]
    );
    let report = world.payer.transfers.reconcile().await.unwrap();
    assert_eq!(report.claimed, 1);
    assert_eq!(
        world.state(&world.payer, &sent.id).await,
        TransferState::Claimed
    );
}

#[tokio::test]
async fn a_payment_that_nobody_redeems_comes_home() {
    // The mint reads the system's clock, so this lock has to end in truth.
    let world = World::with_lock(Duration::from_secs(2)).await;
    let (sent, wrap, _) = world.payment().await;
    assert!(world.held(&world.payer).await < 750);
    world.clock.advance(Duration::from_secs(120));

    let payer = &world.payer;
    eventually(async || {
        payer.transfers.reconcile().await.unwrap();
        world.state(payer, &sent.id).await == TransferState::Reclaimed
    })
    .await;

    assert!(world.held(payer).await >= 990);
    let inbox = world.inbox(&world.payee);
    let late = world.payee.transfers.take(&inbox, &wrap).await.unwrap();
    assert!(
        matches!(&late, Taken::Refused(reason) if reason.contains("spent")),
        "{late:?}"
    );
    let audit = payer.ledger.audit().await.unwrap();
    assert!(audit.is_clean());
    assert!(!audit.balances.contains_key("external:transfers"));
}

#[tokio::test]
async fn a_payment_waits_for_a_mint_that_is_down() {
    let mut world = World::new().await;
    let (sent, wrap, _) = world.payment().await;
    world.stop_mint().await;
    let inbox = world.inbox(&world.payee);

    let taken = world.payee.transfers.take(&inbox, &wrap).await.unwrap();
    assert_eq!(taken, Taken::Held);
    let report = world.payer.transfers.reconcile().await.unwrap();
    assert_eq!(report.open, 1);
    world.start_mint().await;

    eventually(async || world.payee.transfers.reconcile().await.unwrap().received == 1).await;
    assert_eq!(world.held(&world.payee).await, 250);
    eventually(async || world.payer.transfers.reconcile().await.unwrap().claimed == 1).await;
    assert_eq!(
        world.state(&world.payer, &sent.id).await,
        TransferState::Claimed
    );
}

#[tokio::test]
async fn an_order_without_its_token_is_carried_out_after_a_restart() {
    let world = World::new().await;
    world.announce().await;
    let lock_key = world
        .payee
        .wallets
        .lock_key(&feria::transfer::lock_label(world.payee.agent))
        .unwrap();
    let now = world.clock.now();
    let order = TransferRow {
        id: "left-by-a-kill".to_owned(),
        direction: Direction::Out,
        state: TransferState::Created,
        agent: world.payer.agent.to_owned(),
        wallet_id: TREASURY.to_owned(),
        peer: world.payee.keys.public_key().to_bytes(),
        mint: world.mint.url.clone(),
        amount: Sat::new(250),
        memo: String::new(),
        locktime: Some(now + 3_600),
        lock_key: Some(lock_key),
        rumor_id: None,
        peer_relays: vec![world.relay.clone()],
        reply_relays: vec![world.relay.clone()],
        token: None,
        detail: String::new(),
        sent_at: None,
        created_at: now,
        updated_at: now,
    };
    world.payer.ledger.insert_transfer(order).await.unwrap();
    let (payer, keys) = (&world.payer, world.payer.keys.clone());
    payer.transfers.register(payer.agent, keys);

    let first = payer.transfers.reconcile().await.unwrap();
    let second = payer.transfers.reconcile().await.unwrap();

    assert_eq!((first.resent, second.resent), (1, 0));
    assert_eq!(
        world.state(payer, "left-by-a-kill").await,
        TransferState::Sent
    );
    assert_eq!(world.messages(&world.payee).await.len(), 1);
}

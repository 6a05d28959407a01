//! Payees and payers who name relays that they should not.

use std::time::Duration;

use feria::clock::Clock;
use feria::transfer::TransferState;
use feria_paywall::amount::Sat;
use nostr::event::{EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::types::Timestamp;

use super::world::{World, eventually};
use crate::bad_input::Trap;

/// The payee says that it reads its messages at `relay`, some seconds after now.
async fn read_at(world: &World, relay: &str, later_secs: u64) {
    let inbox = EventBuilder::new(Kind::InboxRelays, "")
        .tag(Tag::custom("relay", [relay]))
        .custom_created_at(Timestamp::from(world.clock.now() + later_secs))
        .finalize(&world.payee.keys)
        .unwrap();
    let own = [world.relay.clone()];
    let published = world.payee.relays.publish(&own, &inbox, None).await;
    assert!(published[0].accepted, "{published:?}");
}

#[tokio::test]
async fn a_payee_on_a_private_relay_is_not_called_and_the_money_comes_home() {
    // The mint reads the system's clock, so this lock has to end in truth.
    let world = World::with_lock(Duration::from_secs(2)).await;
    let trap = Trap::set().await;
    for node in [&world.payer, &world.payee] {
        node.relays
            .keep_strangers_public(std::slice::from_ref(&world.relay));
    }
    world.announce().await;
    read_at(&world, &format!("ws://{}", trap.address()), 1).await;
    let before = world.held(&world.payer).await;

    let sent = world.pay(250).await.unwrap();

    assert_eq!(sent.state, TransferState::Created);
    assert!(sent.detail.contains("relays.toml"), "{}", sent.detail);
    trap.check_untouched().await;
    world.clock.advance(Duration::from_secs(120));
    eventually(async || {
        world.payer.transfers.reconcile().await.unwrap();
        world.state(&world.payer, &sent.id).await == TransferState::Reclaimed
    })
    .await;
    // The mint takes its fees for making the token and for taking it back.
    assert!(world.held(&world.payer).await + 4 >= before);
    assert!(world.payer.ledger.audit().await.unwrap().is_clean());

    read_at(&world, &world.relay, 2).await;
    world.read_messages(&world.payee);
    let next = world.pay(100).await.unwrap();
    assert_eq!(next.state, TransferState::Sent);
    eventually(async || world.held(&world.payee).await >= 100).await;
    trap.check_untouched().await;
}

#[tokio::test]
async fn an_answer_goes_to_no_private_relay_of_the_payer() {
    let world = World::new().await;
    let trap = Trap::set().await;
    let own = std::slice::from_ref(&world.relay);
    world.payee.relays.keep_strangers_public(own);
    world.announce().await;
    let order = feria::transfer::SendTransfer {
        from_agent: world.payer.agent.to_owned(),
        from_keys: world.payer.keys.clone(),
        wallet_id: feria::wallet::TREASURY.to_owned(),
        payee: world.payee.keys.public_key(),
        amount: Sat::new(100),
        memo: "\u{202e}\u{1b}[2Jhello\u{200b}".to_owned(),
        lookup_relays: own.to_vec(),
        reply_relays: vec![format!("ws://{}", trap.address())],
    };

    let sent = world.payer.transfers.send(order).await.unwrap();
    let wrap = world.messages(&world.payee).await.remove(0);
    let inbox = world.inbox(&world.payee);
    let taken = world.payee.transfers.take(&inbox, &wrap).await.unwrap();

    assert_eq!(sent.state, TransferState::Sent);
    assert!(matches!(taken, feria::transfer::Taken::Received { amount_sat } if amount_sat >= 100));
    trap.check_untouched().await;
    let received = world.payee.transfers.list().await.unwrap();
    assert_eq!(received[0].memo, "[2Jhello");
    assert!(world.payee.ledger.audit().await.unwrap().is_clean());
}

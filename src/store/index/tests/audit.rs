//! An index that is not what its events say: found, named, and made right again.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::store::index::audit::{Progress, Verified};

/// What is done to the file, what is found, events that are left after a rebuild.
type Case = (&'static str, &'static [(&'static str, u64)], usize);

fn project(event: &Event) -> Vec<CatalogRow> {
    if event.kind.as_u16() == 31_402 {
        vec![row(event, "first"), row(event, "second")]
    } else {
        Vec::new()
    }
}

async fn filled() -> Index {
    let index = Index::in_memory().unwrap();
    for event in [
        event(1, 31_402, NOW, &[&["d", "a"], &["t", "x"], &["t", "x"]]),
        event(
            2,
            31_402,
            NOW - 1,
            &[&["d", "b"], &["expiration", "1900000000"]],
        ),
        event(3, 0, NOW, &[&["t", "x"]]),
    ] {
        let rows = project(&event);
        let stored = index.insert(event, rows, Some("wss://a".to_owned()), NOW);
        assert_eq!(stored.await.unwrap(), Stored::New);
    }
    index
}

async fn verify(index: &Index) -> Verified {
    index.verify(project, |_| ()).await.unwrap()
}

#[tokio::test]
async fn an_untouched_index_is_clean_and_the_walk_reports_its_way() {
    let index = filled().await;
    let steps = Arc::new(StdMutex::new(Vec::new()));
    let heard = Arc::clone(&steps);

    let found = index
        .verify(project, move |step| heard.lock().unwrap().push(step))
        .await
        .unwrap();

    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.events, found.rows), (3, 4));
    let steps = steps.lock().unwrap();
    assert_eq!(steps.first(), Some(&Progress { done: 0, total: 3 }));
    assert_eq!(steps.last(), Some(&Progress { done: 3, total: 3 }));
}

#[tokio::test]
async fn what_was_changed_in_the_file_is_named_and_mended() {
    let cases: &[Case] = &[
        (
            "UPDATE bodies SET json = replace(json, '\"content\":\"\"', '\"content\":\"1 sat!\"')
             WHERE rid = 1",
            &[("wrong-id-or-signature", 1)],
            2,
        ),
        (
            "UPDATE bodies SET json = 'nonsense' WHERE rid = 2",
            &[("unreadable-event", 1)],
            2,
        ),
        (
            "DELETE FROM bodies WHERE rid = 3",
            &[("unreadable-event", 1)],
            2,
        ),
        (
            "UPDATE events SET kind = 30402 WHERE rid = 1",
            &[("wrong-columns", 1)],
            2,
        ),
        (
            "UPDATE events SET expires_at = NULL WHERE rid = 2",
            &[("wrong-columns", 1)],
            2,
        ),
        ("DELETE FROM tags WHERE rid = 1", &[("wrong-tags", 1)], 3),
        (
            "INSERT INTO tags VALUES ('t', 'bought', 5, 3)",
            &[("wrong-tags", 1)],
            3,
        ),
        (
            "UPDATE offers SET price_msat = 1 WHERE oid = 2",
            &[("wrong-rows", 1)],
            3,
        ),
        (
            "UPDATE offer_rows SET json = replace(json, 'first', 'forged')",
            &[("wrong-rows", 2)],
            3,
        ),
        (
            "DELETE FROM offers WHERE oid = 1",
            &[("not-searchable", 1), ("orphan", 1), ("wrong-rows", 1)],
            3,
        ),
        (
            "UPDATE offers SET event_rid = 77 WHERE oid = 1",
            &[("orphan", 1), ("wrong-rows", 1)],
            3,
        ),
        ("INSERT INTO bodies VALUES (9, '{}')", &[("orphan", 1)], 3),
        (
            "DELETE FROM offers_fts WHERE rowid = 1",
            &[("not-searchable", 1)],
            3,
        ),
    ];
    for (change, expected, left) in cases {
        let index = filled().await;
        index.writer.lock().execute_batch(change).unwrap();

        let found = verify(&index).await;
        let faults: Vec<(&str, u64)> = found.faults.iter().map(|(name, n)| (*name, *n)).collect();
        assert_eq!(&faults, expected, "{change}");
        assert!(!found.examples.is_empty(), "{change}");

        let done = index.rebuild(5, project, |_| ()).await.unwrap();
        assert_eq!(done.events, *left as u64, "{change}");
        assert_eq!(done.removed.values().sum::<u64>(), 3 - done.events);
        let after = verify(&index).await;
        assert!(after.is_clean(), "{change}: {after:?}");
        assert_eq!(all(&index).await.len(), *left, "{change}");
        assert_eq!(index.readers_version().await.unwrap(), 5);
    }
}

#[tokio::test]
async fn what_a_rebuild_removes_may_come_back_from_a_relay() {
    let index = filled().await;
    let listing = event(1, 31_402, NOW, &[&["d", "a"], &["t", "x"], &["t", "x"]]);
    let cursor = Cursor {
        relay: "wss://a".to_owned(),
        filters: "f".repeat(32),
        synced_to: NOW,
    };
    let cursors = || index.list_cursors("f".repeat(32));
    let noted = index.insert_batch(Vec::new(), vec![cursor.clone()], NOW);
    noted.await.unwrap();
    index.rebuild(1, project, |_| ()).await.unwrap();
    assert_eq!(cursors().await.unwrap(), [cursor], "nothing is missing");
    let damage = "UPDATE bodies SET json = '' WHERE rid = 1";
    index.writer.lock().execute_batch(damage).unwrap();
    index.rebuild(1, project, |_| ()).await.unwrap();
    assert_eq!(find(&index, "first").await, ["first"]);
    assert!(cursors().await.unwrap().is_empty(), "all are read again");

    let stored = index.insert(listing.clone(), project(&listing), None, NOW);

    assert_eq!(stored.await.unwrap(), Stored::New);
    assert!(verify(&index).await.is_clean());
    assert_eq!(find(&index, "first").await, ["first", "first"]);
}

#[tokio::test]
async fn a_rebuild_keeps_sightings_deletions_and_marks() {
    let index = filled().await;
    let (old, gone) = (
        event(1, 31_402, NOW - 9, &[&["d", "a"]]),
        event(
            2,
            31_402,
            NOW - 1,
            &[&["d", "b"], &["expiration", "1900000000"]],
        ),
    );
    let deletion = event(2, 5, NOW, &[&["e", &gone.id.to_hex()]]);
    insert(&index, &deletion).await;

    index.rebuild(1, project, |_| ()).await.unwrap();

    assert_eq!(insert(&index, &old).await, Stored::Superseded);
    assert_eq!(insert(&index, &gone).await, Stored::Deleted);
    let listing = event(1, 31_402, NOW, &[&["d", "a"], &["t", "x"], &["t", "x"]]);
    let relays = index.list_sightings(listing.id.to_bytes()).await.unwrap();
    assert_eq!(relays, ["wss://a"]);
}

//! What changes with time: an offer's interface, and the file itself.

use super::*;

#[tokio::test]
async fn an_interface_that_becomes_another_is_shown_as_changed() {
    let index = Index::in_memory().unwrap();
    let version = |at: u64, digit: &str| {
        let event = event(1, 31_402, at, &[&["d", "x"]]);
        let mut row = row(&event, "tool");
        row.schema_hash = Some(digit.repeat(64));
        (event, row)
    };
    let shown = async || index.search(newest(), NOW).await.unwrap()[0].schema_changed_at;
    let steps = [
        (NOW - 9, "a", None),
        (NOW - 8, "a", None),
        (NOW - 7, "b", Some(NOW - 7)),
        (NOW - 6, "b", Some(NOW - 7)),
        // Too old to be taken: nothing is learnt from it.
        (NOW - 8, "c", Some(NOW - 7)),
        (NOW - 5, "a", Some(NOW - 5)),
    ];
    for (at, digit, expected) in steps {
        let (event, row) = version(at, digit);
        insert_row(&index, &event, row).await;
        assert_eq!(shown().await, expected, "{digit} at {at}");
    }

    // Remembered beyond a deletion, and not for ever.
    let address = format!("31402:{}:x", keys(1).public_key());
    insert(&index, &gone(NOW - 4, &address)).await;
    index.prune_expired(NOW).await.unwrap();
    let (event, row) = version(NOW - 3, "d");
    insert_row(&index, &event, row).await;
    assert_eq!(shown().await, Some(NOW - 3));
    let late = NOW + 100 * 24 * 60 * 60;
    index.prune_expired(late).await.unwrap();
    assert_eq!(shown().await, Some(NOW - 3), "its listing is here");
    insert(&index, &gone(NOW - 2, &address)).await;
    index.prune_expired(late).await.unwrap();
    let (event, row) = version(NOW - 1, "e");
    insert_row(&index, &event, row).await;
    assert_eq!(shown().await, None);
}

fn gone(at: u64, address: &str) -> Event {
    event(1, 5, at, &[&["a", address]])
}

fn newest() -> Search {
    Search {
        limit: 10,
        ..Search::default()
    }
}

#[tokio::test]
async fn an_index_of_an_earlier_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let listing = event(1, 31_402, NOW, &[&["d", "a"]]);
    let mut earlier = Connection::open(&path).unwrap();
    migrate(&mut earlier, &path, &STEPS[..2]).unwrap();
    let insert_event = "INSERT INTO events VALUES (1, ?1, ?2, 31402, ?3, 'a', NULL)";
    earlier
        .execute(
            insert_event,
            (
                listing.id.as_bytes(),
                listing.pubkey.as_bytes(),
                sql_time(NOW),
            ),
        )
        .unwrap();
    earlier
        .execute("INSERT INTO bodies VALUES (1, ?1)", [listing.as_json()])
        .unwrap();
    drop(earlier);

    let index = Index::open(&path).unwrap();

    assert_eq!(index.readers_version().await.unwrap(), 0);
    let project = |event: &Event| vec![row(event, "read")];
    let read = index.rebuild_catalog(vec![31_402], 1, project).await;
    assert_eq!(read.unwrap(), 1);
    assert_eq!(find(&index, "read").await, ["read"]);
    let fresh = folder.path().join("fresh.db");
    drop(Index::open(&fresh).unwrap());
    assert_eq!(schema(&path), schema(&fresh));
}

/// What `sqlite_schema` says of a file.
fn schema(path: &Path) -> Vec<String> {
    let file = Connection::open(path).unwrap();
    let mut statement = file
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let lines = statement.query_map([], |row| row.get(0)).unwrap();
    lines.map(Result::unwrap).collect()
}

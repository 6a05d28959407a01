//! Groups of changes: who is answered when, and what a failing one takes with it.

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;

fn writer() -> Arc<Writer> {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE notes (number INTEGER PRIMARY KEY);
             CREATE TABLE children (parent INTEGER REFERENCES notes DEFERRABLE INITIALLY DEFERRED);
             PRAGMA foreign_keys = ON;",
        )
        .unwrap();
    Writer::new(Arc::new(Mutex::new(connection)))
}

fn note(transaction: &Transaction<'_>, number: u32) -> Result<u32, StoreError> {
    transaction.execute("INSERT INTO notes VALUES (?1)", [number])?;
    Ok(number)
}

fn notes(writer: &Writer) -> Vec<u32> {
    let connection = writer.connection.lock();
    let mut select = connection
        .prepare("SELECT number FROM notes ORDER BY number")
        .unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

type Work = fn(&Transaction<'_>) -> Result<u32, StoreError>;

/// Runs `works` as one group and returns what each caller was told.
fn told(writer: &Writer, works: &[Work]) -> Vec<Result<u32, StoreError>> {
    let (group, answers): (Vec<Box<dyn Change>>, Vec<_>) = works
        .iter()
        .map(|work| {
            let (caller, answer) = oneshot::channel();
            let change = Waiting {
                what: "test",
                work: Some(*work),
                outcome: None,
                caller,
            };
            (Box::new(change) as Box<dyn Change>, answer)
        })
        .unzip();
    run_group(&writer.connection, group);
    answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap())
        .collect()
}

#[test]
fn a_change_that_fails_undoes_itself_alone() {
    let writer = writer();

    let told = told(
        &writer,
        &[
            |t| note(t, 1),
            |t| {
                note(t, 2)?;
                note(t, 1)
            },
            |t| note(t, 3),
        ],
    );

    assert!(matches!(
        told[..],
        [Ok(1), Err(StoreError::Sqlite { .. }), Ok(3)]
    ));
    assert_eq!(notes(&writer), [1, 3]);
}

#[test]
fn a_change_that_panics_undoes_itself_alone() {
    let writer = writer();

    let told = told(
        &writer,
        &[
            |t| {
                note(t, 1)?;
                panic!("a fault of the test")
            },
            |t| note(t, 2),
        ],
    );

    assert!(matches!(told[..], [Err(StoreError::Stopped), Ok(2)]));
    assert_eq!(notes(&writer), [2]);
}

#[test]
fn a_change_sees_those_before_it_in_its_group() {
    let writer = writer();

    let told = told(&writer, &[|t| note(t, 7), |t| note(t, 7)]);

    assert!(matches!(told[..], [Ok(7), Err(_)]));
}

#[test]
fn a_transaction_that_is_gone_fails_everyone_in_it() {
    let writer = writer();

    let told = told(
        &writer,
        &[
            |t| note(t, 1),
            |t| {
                t.execute_batch("ROLLBACK")?;
                Ok(2)
            },
            |t| note(t, 3),
        ],
    );

    assert!(told.iter().all(Result::is_err), "{told:?}");
    assert!(notes(&writer).is_empty());
}

#[test]
fn a_commit_that_fails_fails_everyone_in_it() {
    let good: Work = |t| note(t, 1);
    let orphan: Work = |t| {
        t.execute("INSERT INTO children VALUES (99)", [])?;
        Ok(2)
    };
    for works in [vec![good, orphan], vec![orphan]] {
        let writer = writer();

        let told = told(&writer, &works);

        assert!(told.iter().all(Result::is_err), "{told:?}");
        assert!(notes(&writer).is_empty());
        assert!(writer.connection.lock().is_autocommit());
    }
}

#[tokio::test]
async fn what_waits_is_done_in_order_and_is_on_disk_when_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("CREATE TABLE notes (id INTEGER PRIMARY KEY, number INTEGER)")
        .unwrap();
    let writer = Writer::new(Arc::new(Mutex::new(connection)));
    let other = Connection::open(&path).unwrap();

    let count = 3 * MAX_GROUP as u32;
    let busy = writer.connection.lock();
    let mut waiting: Vec<_> = (0..count)
        .map(|number| {
            let work = move |t: &Transaction<'_>| {
                t.execute("INSERT INTO notes (number) VALUES (?1)", [number])?;
                Ok(number)
            };
            Box::pin(writer.run("test", work))
        })
        .collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    drop(busy);
    let answers = join_all(waiting).await;

    assert!(answers.iter().all(Result::is_ok));
    let (stored, in_order): (u32, u32) = other
        .query_row(
            "SELECT count(*), sum(id = number + 1) FROM notes",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((stored, in_order), (count, count));
}

#[tokio::test]
async fn a_change_whose_caller_left_is_made() {
    let writer = writer();
    let busy = writer.connection.lock();
    let mut leaving = Box::pin(writer.run("test", |t| note(t, 1)));
    assert!((&mut leaving).now_or_never().is_none());
    drop(leaving);
    drop(busy);

    writer.run("test", |t| note(t, 2)).await.unwrap();

    assert_eq!(notes(&writer), [1, 2]);
}

#[tokio::test]
async fn a_leader_that_never_ran_leaves_nobody_waiting() {
    let writer = writer();
    let (caller, mut answer) = oneshot::channel();
    writer.queue.lock().is_led = true;
    writer.queue.lock().waiting.push_back(Box::new(Waiting {
        what: "test",
        work: Some(|t: &Transaction<'_>| note(t, 1)),
        outcome: None,
        caller,
    }));

    drop(Leader(Some(Arc::clone(&writer))));

    assert!(answer.try_recv().is_err());
    assert_eq!(writer.run("test", |t| note(t, 2)).await.unwrap(), 2);
    assert_eq!(notes(&writer), [2]);
}

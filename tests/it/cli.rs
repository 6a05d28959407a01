//! The commands, run as a program: data, messages and exit codes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn feria(data_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_feria"))
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(bytes));
    })
}

fn ready() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = feria(
        folder.path(),
        &["init", "--network", "simulated", "--no-relays"],
    );
    assert!(made.status.success(), "{made:?}");
    folder
}

#[test]
fn init_makes_a_private_folder_and_never_overwrites() {
    use std::os::unix::fs::PermissionsExt;
    let folder = ready();
    let seed = std::fs::read(folder.path().join("seed")).unwrap();

    let again = feria(folder.path(), &["init", "--json"]);

    assert_eq!(
        json(&again.stdout)["kept"],
        serde_json::json!(["feria.toml", "relays.toml", "seed"])
    );
    assert_eq!(std::fs::read(folder.path().join("seed")).unwrap(), seed);
    let mode = std::fs::metadata(folder.path().join("seed"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_command_without_a_configuration_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();

    let refused = feria(folder.path(), &["--json", "ledger", "audit"]);

    let error = json(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(error["error"], true);
    assert_eq!(error["code"], "bad_config");
    assert_eq!(error["exit_code"], 2);
    assert!(error["message"].as_str().unwrap().contains("feria init"));
    assert!(refused.stdout.is_empty());
}

#[test]
fn a_command_for_a_node_that_does_not_run_is_a_network_error() {
    let folder = ready();

    let refused = feria(folder.path(), &["wallet", "balance"]);

    assert_eq!(refused.status.code(), Some(4));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("feria up"), "{text}");
}

#[test]
fn bad_arguments_end_with_2_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();

    assert_eq!(feria(folder.path(), &["dance"]).status.code(), Some(2));
    assert_eq!(feria(folder.path(), &["--help"]).status.code(), Some(0));
    let priceless = [
        "agent",
        "add",
        "a",
        "--upstream",
        "http://h",
        "--price",
        "21",
    ];
    let refused = feria(folder.path(), &priceless);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("names no unit"));
}

#[test]
fn files_of_a_node_that_does_not_run_can_be_read() {
    let folder = ready();
    let add = [
        "agent",
        "add",
        "translate",
        "--upstream",
        "http://127.0.0.1:9",
        "--price",
        "21sat",
    ];

    assert!(feria(folder.path(), &add).status.success());
    assert_eq!(feria(folder.path(), &add).status.code(), Some(2));
    let agents = json(&feria(folder.path(), &["--json", "agent", "list"]).stdout);
    let audit = json(&feria(folder.path(), &["--json", "ledger", "audit"]).stdout);
    let found = json(&feria(folder.path(), &["--json", "search", "anything"]).stdout);

    assert_eq!(agents["items"][0]["price_msat"], 21_000);
    assert_eq!(audit["ok"], true);
    assert_eq!(found["items"], serde_json::json!([]));
}

#[test]
fn an_issued_token_reads_back_in_plain_words() {
    let folder = ready();
    let issue = [
        "--json",
        "access",
        "issue",
        "--tier",
        "pay-only",
        "--max-amount",
        "500sat",
    ];

    let issued = json(&feria(folder.path(), &issue).stdout);
    let token = issued["token"].as_str().unwrap();
    let read = json(&feria(folder.path(), &["--json", "access", "inspect", token]).stdout);
    let nonsense = feria(folder.path(), &["access", "inspect", "nonsense"]);

    assert_eq!(read["tier"], "pay-only");
    assert_eq!(read["max_amount_msat"], 500_000);
    assert_eq!(read["allowed"], serde_json::json!(["browse", "pay"]));
    assert_eq!(nonsense.status.code(), Some(2));
}

/// Takes two listings of one key into the index of the node in `folder`.
fn take_listings(folder: &Path) {
    use feria::clock::{Clock, SystemClock};
    use feria::market::{Indexer, Policy};
    use feria::store::index::Index;
    use nostr::event::{EventBuilder, FinalizeEvent, Kind, Tag};
    use nostr::key::Keys;
    use nostr::types::Timestamp;

    let keys = Keys::generate();
    let index = Index::open(&folder.join("index.db")).unwrap();
    let indexer = Indexer::new(index, std::sync::Arc::new(SystemClock), Policy::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (kind, tags) in [
        (38_990, [["d", "a"], ["name", "oracle"], ["price", "21"]]),
        (38_400, [["d", "a"], ["name", "oracle"], ["price", "22"]]),
    ] {
        let event = EventBuilder::new(Kind::from_u16(kind), "")
            .tags(tags.map(|tag| Tag::parse(tag).unwrap()))
            .custom_created_at(Timestamp::from_secs(SystemClock.now()))
            .finalize(&keys)
            .unwrap();
        assert!(runtime.block_on(indexer.admit(event, None)).accepted);
    }
}

#[test]
fn an_index_is_verified_and_made_right_again() {
    let folder = ready();
    take_listings(folder.path());
    let run = |arguments: &[&str]| feria(folder.path(), arguments);

    let clean = run(&["--json", "index", "verify"]);
    assert_eq!(clean.status.code(), Some(0), "{clean:?}");
    let clean = json(&clean.stdout);
    assert_eq!(
        (&clean["ok"], &clean["events"], &clean["rows"]),
        (&true.into(), &2.into(), &2.into())
    );

    let file = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
    file.execute_batch(
        r#"UPDATE bodies SET json = replace(json, '"price","21"', '"price","1"') WHERE rid = 1;
         UPDATE offers SET price_msat = 1 WHERE event_rid = 2"#,
    )
    .unwrap();
    let found = run(&["--json", "index", "verify"]);
    assert_eq!(found.status.code(), Some(1));
    let faults = &json(&found.stdout)["faults"];
    assert_eq!(faults["wrong-id-or-signature"], 1, "{faults}");
    assert_eq!(faults["wrong-rows"], 1, "{faults}");
    let advice = json(&found.stderr)["next_steps"].to_string();
    assert!(advice.contains("feria index rebuild"), "{advice}");

    let rebuilt = run(&["index", "rebuild"]);
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    let words = String::from_utf8(rebuilt.stdout).unwrap();
    assert!(words.contains("1 events read again, 1 offers"), "{words}");
    assert!(
        words.contains("1 events removed: wrong-id-or-signature"),
        "{words}"
    );
    let progress = String::from_utf8(rebuilt.stderr).unwrap();
    assert!(
        progress.is_empty() || progress.contains("events"),
        "{progress}"
    );
    assert_eq!(run(&["index", "verify"]).status.code(), Some(0));

    let shown = String::from_utf8(run(&["search", "oracle"]).stdout).unwrap();
    assert!(shown.contains("22 sat"), "{shown}");
    assert!(shown.contains("LISTED AS"), "{shown}");
    assert!(shown.contains("NIP-A5"), "{shown}");
}

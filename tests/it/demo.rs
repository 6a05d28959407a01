//! The demo as a person runs it: one process, one report.

#[path = "../support/demo_process.rs"]
mod demo_process;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

fn texts<'a>(lines: &'a Value, field: &str) -> Vec<&'a str> {
    let lines = lines.as_array().unwrap();
    lines
        .iter()
        .map(|line| line[field].as_str().unwrap())
        .collect()
}

#[test]
fn every_rail_is_used_and_the_books_add_up() {
    let folder = tempfile::tempdir().unwrap();

    let ended = demo_process::run_to_end(folder.path());

    demo_process::assert_conserved(&ended);
    let report = ended.report.unwrap();
    let schema: Value =
        serde_json::from_str(include_str!("../../schemas/demo-report.json")).unwrap();
    assert!(jsonschema::is_valid(&schema, &report));
    assert_eq!(report["network"], "simulated");
    assert_eq!(report["listings_indexed"], 3);
    assert_eq!(
        texts(&report["purchases"], "rail"),
        [
            "l402",
            "l402-cached",
            "nut24-offline",
            "nut24-swap",
            "nut24-swap",
            ""
        ]
    );
    assert_eq!(
        texts(&report["purchases"], "outcome"),
        [
            "delivered",
            "delivered",
            "delivered",
            "delivered",
            "refunded",
            "refused"
        ]
    );
    assert_eq!(texts(&report["messages"], "state"), ["claimed"]);
    assert_eq!(report["messages"][0]["received_sat"], 250);
    assert_eq!(report["wallet"]["audit_ok"], true);
    assert_eq!(report["wallet"]["left_sat"], 0);
    let spent = report["wallet"]["spent_msat"].as_u64().unwrap();
    let prices = 100_000 + 2 * 500_000 + 250_000;
    assert!((prices..prices + 40_000).contains(&spent), "{spent}");
}

#[test]
fn each_tier_may_do_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();

    let report = demo_process::run_to_end(folder.path()).report.unwrap();

    let allowed: Vec<(String, Vec<String>)> = report["tiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tier| {
            let actions = tier["allowed"].as_array().unwrap();
            let actions = actions
                .iter()
                .map(|action| action.as_str().unwrap().to_owned());
            (tier["tier"].as_str().unwrap().to_owned(), actions.collect())
        })
        .collect();
    let browse = ["browse listings", "see wallets"].as_slice();
    let pay = ["pay an invoice", "buy a call"].as_slice();
    let invoice = ["make an invoice"].as_slice();
    let transfer = ["send ecash by message"].as_slice();
    let expected = [
        ("read-only", browse.to_vec()),
        ("invoice-only", [browse, invoice].concat()),
        ("pay-only", [browse, pay].concat()),
        ("agent-commerce", [browse, invoice, pay, transfer].concat()),
    ];
    assert_eq!(allowed.len(), expected.len());
    for ((tier, actions), (name, wanted)) in allowed.iter().zip(expected) {
        assert_eq!(
            (tier.as_str(), actions),
            (name, &wanted.iter().map(|&text| text.to_owned()).collect())
        );
    }
}

/// The short form of the soak `demo_kill`.
#[test]
fn a_killed_demo_recovers_on_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    for millis in [350, 600] {
        demo_process::kill_after(folder.path(), Duration::from_millis(millis));
    }

    let ended = demo_process::run_to_end(folder.path());

    demo_process::assert_conserved(&ended);
}

/// Returns every text of `column` in the ledgers under `folder`.
fn column(folder: &Path, sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    for node in ["buyer", "seller"] {
        let ledger = rusqlite::Connection::open(folder.join(node).join("ledger.db")).unwrap();
        let mut select = ledger.prepare(sql).unwrap();
        let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        found.extend(rows.map(Result::unwrap));
    }
    found
}

/// Returns the texts that a process wrote beside its databases, and its logs.
fn writings(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // The seed is the one secret that belongs into a file, and the simulated
        // Lightning network keeps the preimages of its invoices.
        if path.is_dir() {
            writings(&path, into);
        } else if !name.contains(".db") && name != "seed" && name != "lightning.jsonl" {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_secret_is_logged_or_left_beside_the_databases() {
    let folder = tempfile::tempdir().unwrap();
    let filter = "trace,cdk=trace,cashu=trace,macaroon=trace,macaroon::verifier=trace";

    let ended = demo_process::run_with(folder.path(), &[("FERIA_LOG", filter)]);

    demo_process::assert_conserved(&ended);
    let mut texts = ended.stderr;
    assert!(
        texts.contains("TRACE") || texts.contains("DEBUG"),
        "{texts}"
    );
    writings(folder.path(), &mut texts);
    let texts = texts.to_lowercase();
    let mut secrets = column(folder.path(), "SELECT hex(preimage) FROM credentials");
    secrets.extend(column(folder.path(), "SELECT token FROM credentials"));
    assert!(!secrets.is_empty());
    secrets.extend(column(
        folder.path(),
        "SELECT json_extract(proof, '$.secret') FROM proofs WHERE proof IS NOT NULL",
    ));
    // Tokens in both versions, and what every Nostr secret key begins with.
    secrets.extend(["cashuAey", "cashuBo2", "cashuBp", "nsec1"].map(str::to_owned));
    for secret in secrets {
        let found = texts.find(&secret.to_lowercase());
        assert!(found.is_none(), "a secret is in the logs at byte {found:?}");
    }
}

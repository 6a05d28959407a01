//! Audit chains that were exported: checked by the program and by a script that
//! shares no code with it.

use std::process::{Command, Stdio};

use feria::wallet::AuditLog;

use super::*;

/// References that JSON writes in more than one way.
const ODD: [&str; 5] = [
    "plain",
    "\"quoted\" \\ back",
    "tab\tline\nbell\u{7}\u{1f}\u{7f}",
    "é ünïcode 中 😀 \u{2028}",
    "/slash <tag> & 'apostrophe'",
];

async fn exported() -> AuditLog {
    let market = Market::funded(100).await;
    let wallet = market.agent_wallet(200).await;
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(50))
        .await
        .unwrap();
    for odd in ODD {
        let amount = Msat::new(21_000);
        let noted = market.wallets.note(&wallet.id, "refused", amount, odd);
        noted.await.unwrap();
    }
    market.wallets.sweep_agent_wallet(&wallet.id).await.unwrap();
    market.wallets.audit_log(&wallet.id).await.unwrap()
}

/// The exit codes of the program and of the script for the log `text`.
fn verdicts(text: &str, head: Option<&str>) -> [Option<i32>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.json");
    std::fs::write(&file, text).unwrap();
    let run = |command: &mut Command| {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        quiet.stderr(Stdio::null()).status().ok()?.code()
    };
    let mut program = Command::new(env!("CARGO_BIN_EXE_feria"));
    program.args(["wallet", "audit", "--file"]).arg(&file);
    let mut script = Command::new("python3");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/verify_audit.py");
    script.arg(path).arg(&file);
    if let Some(head) = head {
        program.args(["--head", head]);
        script.arg(head);
    }
    [run(&mut program), run(&mut script)]
}

/// Asserts that both end with `expected`; a machine without python3 has one of them.
#[track_caller]
fn check(log: &serde_json::Value, head: Option<&str>, expected: i32) {
    let [program, script] = verdicts(&log.to_string(), head);
    assert_eq!(program, Some(expected), "the program: {log}");
    assert!(
        script.is_none_or(|code| code == expected),
        "the script: {script:?}: {log}"
    );
}

#[tokio::test]
async fn an_exported_chain_is_checked_by_program_and_script() {
    let log = exported().await;
    let last = log.entries.last().unwrap().hash.clone();
    let whole = serde_json::to_value(&log).unwrap();
    let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut log = whole.clone();
        edit(&mut log);
        log
    };

    assert!(log.ok && log.entries.len() > ODD.len() + 2);
    check(&whole, None, 0);
    check(&whole, Some(&last), 0);
    for (field, value) in [
        ("amount_msat", serde_json::json!(-1)),
        ("at", serde_json::json!(1)),
        ("kind", serde_json::json!("paid")),
        ("reference", serde_json::json!("other")),
        ("hash", serde_json::json!("00".repeat(32))),
        ("prev", serde_json::json!("00".repeat(32))),
        ("seq", serde_json::json!(7)),
    ] {
        check(
            &edited(&|log| log["entries"][3][field] = value.clone()),
            None,
            1,
        );
    }
    check(&edited(&|log| log["wallet_id"] = "other".into()), None, 1);
    check(
        &edited(&|log| drop(log["entries"].as_array_mut().unwrap().remove(2))),
        None,
        1,
    );
    check(
        &edited(&|log| log["entries"].as_array_mut().unwrap().swap(1, 2)),
        None,
        1,
    );
    // What it says of itself counts for nothing.
    let boast = edited(&|log| {
        log["entries"][1]["amount_msat"] = 5.into();
        log["ok"] = true.into();
    });
    check(&boast, None, 1);
    let cut = edited(&|log| drop(log["entries"].as_array_mut().unwrap().pop()));
    check(&cut, None, 0);
    check(&cut, Some(&last), 1);
    assert_eq!(verdicts("{\"nonsense\": 1}", None)[0], Some(2));
}

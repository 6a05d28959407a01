//! Files and ports that do not fit: the command says which, and why, and works
//! once it is mended.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn feria(data_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_feria"))
        .args(["--json", "--data-dir"])
        .arg(data_dir)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
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

/// Asserts that the command ends as one whose configuration is at fault, with each of `parts` in its words.
#[track_caller]
fn check_refused(output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    let fault: Value = serde_json::from_slice(&output.stderr).expect("one document");
    assert_eq!(fault["code"], "bad_config", "{fault}");
    for part in parts {
        assert!(fault["message"].as_str().unwrap().contains(part), "{fault}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[track_caller]
fn check_sound(folder: &Path) {
    let audit = feria(folder, &["ledger", "audit"]);
    let books: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(books["ok"], true, "{books}");
    assert_eq!(books["imbalance_msat"], 0, "{books}");
}

#[test]
fn an_unknown_key_stops_every_command_until_it_is_mended() {
    let folder = ready();
    let file = folder.path().join("feria.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("max_price", "max_pirce")).unwrap();

    for command in [["up"].as_slice(), &["ledger", "audit"], &["search", "x"]] {
        let refused = feria(folder.path(), command);
        check_refused(&refused, &["max_pirce", "max_price", "feria.toml"]);
    }

    std::fs::write(&file, good).unwrap();
    check_sound(folder.path());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for (name, is_config) in [("feria.toml", true), ("relays.toml", true), ("seed", false)] {
        let folder = ready();
        let file = folder.path().join(name);
        let good = std::fs::read(&file).unwrap();
        // A folder in its place, and text that is none: both hold for root too.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let command: &[&str] = if is_config {
            &["ledger", "audit"]
        } else {
            &["up"]
        };
        check_refused(&feria(folder.path(), command), &[name]);
        std::fs::remove_dir(&file).unwrap();
        write_private(&file, b"\xff\xfe\x00");
        check_refused(&feria(folder.path(), command), &[name]);

        write_private(&file, &good);
        check_sound(folder.path());
    }
}

#[test]
fn an_occupied_port_stops_the_node_until_it_is_free() {
    let folder = ready();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = folder.path().join("feria.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let occupied = good.replace("127.0.0.1:7402", "127.0.0.1:0");
    let occupied = occupied.replace("127.0.0.1:7403", &address.to_string());
    std::fs::write(&file, &occupied).unwrap();

    let refused = feria(folder.path(), &["up"]);

    check_refused(
        &refused,
        &["admin.listen", &address.to_string(), "feria.toml"],
    );
    assert!(!folder.path().join("node.json").exists());
    check_sound(folder.path());
}

fn write_private(file: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

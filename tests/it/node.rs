//! Nodes as programs: each a `feria up` of its own, reached by the commands.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take; a node starts in a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an idle node may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feria"));
    command
        .env_clear()
        .env("FERIA_PUBLIC__LISTEN", "127.0.0.1:0")
        .env("FERIA_ADMIN__LISTEN", "127.0.0.1:0")
        .env("FERIA_LIGHTNING__BACKENDS__NODE__KIND", "simulated")
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null());
    command
}

/// A running node; killed when dropped.
struct Node {
    folder: PathBuf,
    process: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Node {
    /// Sets up `folder` with these relays and starts a node on it.
    fn start(folder: PathBuf, relays: &str) -> Self {
        let init = ["init", "--network", "simulated", "--no-relays"];
        assert!(
            command(&folder)
                .args(init)
                .output()
                .unwrap()
                .status
                .success()
        );
        std::fs::write(folder.join("relays.toml"), relays).unwrap();
        let log = std::fs::File::create(folder.join("up.log")).unwrap();
        let process = command(&folder)
            .arg("up")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let node = Self { folder, process };
        node.until("answers", || {
            node.run(&["status", "--quiet"]).status.success()
        });
        node
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(&self.folder).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            let log = || std::fs::read_to_string(self.folder.join("up.log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "never {what}: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn websocket_url(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("node.json")).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        format!("ws://{}", document["public"].as_str().unwrap())
    }

    /// Puts an agent on sale and returns the endpoint of its listing.
    #[track_caller]
    fn sell(&self, name: &str, price: &str) -> String {
        let upstream = ["--upstream", "http://127.0.0.1:9"];
        let add = [&["agent", "add", name, "--price", price], &upstream[..]].concat();
        self.json(&add);
        let report = self.json(&["agent", "publish", name]);
        assert_eq!(
            report["events"][0]["relays"][0]["accepted"], true,
            "{report:#}"
        );
        let agents = self.json(&["agent", "list"]);
        agents["items"][0]["url"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn finds(&self, name: &str, endpoint: &str, price_msat: u64) {
        self.until(&format!("finds {name}"), || {
            let found = self.json(&["search", name]);
            found["items"][0]["endpoint"] == endpoint
                && found["items"][0]["price_msat"] == price_msat
        });
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        // The shell's own `kill`: the standard library only knows SIGKILL.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} $0"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Sends SIGTERM and returns how the process ended and how long that took.
    fn terminate(mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        self.signal("TERM");
        let ended = self.process.wait().unwrap();
        (ended.code(), started.elapsed())
    }
}

#[test]
fn two_nodes_find_each_other_through_a_relay() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Node::start(folder.path().join("relay"), "");
    let relays = format!(
        "[[relays]]\nurl = \"{}\"\nwrite = true\n",
        relay.websocket_url()
    );
    let anna = Node::start(folder.path().join("anna"), &relays);
    let bert = Node::start(folder.path().join("bert"), &relays);

    let translate = anna.sell("translate", "21sat");
    let weather = bert.sell("weather", "5sat");

    bert.finds("translate", &translate, 21_000);
    anna.finds("weather", &weather, 5_000);
    let check = anna.run(&["agent", "check", "translate"]);
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn an_idle_node_stops_soon_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path().join("node"), "");
    let data_dir = node.folder.clone();

    let (code, took) = node.terminate();

    assert_eq!(code, Some(0));
    assert!(took < STOP_PATIENCE, "{took:?}");
    assert!(!data_dir.join("node.json").exists());
}

#[test]
fn edited_agents_are_read_at_sighup_and_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path().join("node"), "");
    let add = [
        "agent",
        "add",
        "a",
        "--price",
        "1sat",
        "--upstream",
        "http://127.0.0.1:9",
    ];
    node.json(&add);
    let file = node.folder.join("agents/a.toml");
    let write = |price: &str| {
        let text = format!("upstream = \"http://127.0.0.1:9\"\nprice = \"{price}\"\n");
        std::fs::write(&file, text).unwrap();
    };
    let sells_at = |msat: u64| node.json(&["agent", "list"])["items"][0]["price_msat"] == msat;

    write("2sat");
    node.signal("HUP");
    node.until("sells at 2 sat", || sells_at(2_000));
    write("2");
    node.signal("HUP");
    let refused = node.run(&["agent", "reload"]);
    assert!(sells_at(2_000));
    write("3sat");
    let reloaded = node.json(&["agent", "reload"]);

    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("a.toml") && said.contains("`price`"),
        "{said}"
    );
    assert_eq!(reloaded["changed"], serde_json::json!(["a"]));
    assert!(sells_at(3_000));
}

#[test]
fn a_killed_node_is_seen_as_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path().join("node"), "");
    node.process.kill().unwrap();
    node.process.wait().unwrap();

    let balance = node.run(&["wallet", "balance"]);
    let audit = node.json(&["ledger", "audit"]);

    assert!(node.folder.join("node.json").exists());
    assert_eq!(balance.status.code(), Some(4));
    assert_eq!(audit["ok"], true);
}

#[test]
fn every_file_of_a_node_is_private() {
    use std::os::unix::fs::PermissionsExt;
    fn check(folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            // Standard error goes where the test put it.
            let is_ours = path.file_name().is_some_and(|name| name != "up.log");
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert!(!is_ours || mode == expected, "{} {mode:o}", path.display());
            if path.is_dir() {
                check(&path);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path().join("node"), "");
    node.json(&[
        "agent",
        "add",
        "a",
        "--price",
        "1sat",
        "--upstream",
        "http://127.0.0.1:9",
    ]);
    node.json(&["mint", "add", "http://127.0.0.1:9"]);
    node.json(&["access", "issue", "--tier", "read-only"]);

    check(&node.folder);
    let others = std::fs::metadata(&node.folder)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(others & 0o777, 0o700);
}

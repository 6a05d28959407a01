//! What a policy may say, and what it answers when it may not.

use super::*;

#[track_caller]
fn check_refused(text: &str, parts: &[&str]) {
    let message = PolicyConfig::parse(text, "policies/scout.toml")
        .unwrap_err()
        .to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    assert!(message.contains("policies/scout.toml"), "{message}");
}

#[test]
fn the_sample_holds_every_key() {
    fn keys(table: &Table, prefix: &str, found: &mut BTreeSet<String>) {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            match value {
                Value::Table(inner) => keys(inner, &format!("{path}."), found),
                Value::Array(values) if values.iter().any(Value::is_table) => {
                    for inner in values.iter().filter_map(Value::as_table) {
                        keys(inner, &format!("{path}."), found);
                    }
                }
                _ => drop(found.insert(path)),
            }
        }
    }
    let sample = PolicyConfig::parse(SAMPLE_POLICY, "policy.sample.toml").unwrap();
    let (mut shown, mut known) = (BTreeSet::new(), BTreeSet::new());
    keys(&SAMPLE_POLICY.parse().unwrap(), "", &mut shown);
    keys(&known_keys(), "", &mut known);

    assert_eq!(shown, known);
    assert_eq!(sample.limits.daily, Some(Msat::new(2_000_000)));
}

#[test]
fn an_empty_file_sets_no_limit() {
    assert_eq!(
        PolicyConfig::parse("", "x").unwrap(),
        PolicyConfig::default()
    );
}

#[test]
fn absurd_policies_say_what_would_be_right() {
    check_refused("daily = \"0sat\"", &["`daily`", "above 0", "deny"]);
    check_refused("daily = \"-5sat\"", &["`daily`"]);
    check_refused("daily = 5", &["`daily`"]);
    check_refused("total = \"99999999999999999999sat\"", &["`total`"]);
    check_refused("total = \"2100000000000001sat\"", &["`total`"]);
    check_refused("calls_per_minute = 0", &["`calls_per_minute`", "1 to"]);
    check_refused("calls_per_minute = -1", &["`calls_per_minute`"]);
    check_refused("calls_per_minute = 4294967296", &["`calls_per_minute`"]);
    check_refused("approval_secs = 1", &["`approval_secs`", "60"]);
    check_refused("approval_secs = 18446744073709551615", &["policies"]);
    check_refused(
        "per_cal = \"5sat\"",
        &["unknown key `per_cal`", "`per_call`"],
    );
    check_refused(
        "[hosts]\nallowed = []",
        &["`hosts.allowed`", "`hosts.allow`"],
    );
    check_refused(
        "[[only]]\nhots = \"h\"\ndaily = \"5sat\"",
        &["`only.hots`", "`only.host`"],
    );
}

#[test]
fn names_are_what_their_list_says() {
    check_refused(
        "[hosts]\ndeny = [\"https://h.example/\"]",
        &["`hosts.deny`", "without scheme"],
    );
    check_refused("[hosts]\nallow = [\"a b\"]", &["`hosts.allow`"]);
    check_refused(
        "[sellers]\nallow = [\"npub1x\"]",
        &["`sellers.allow`", "64"],
    );
    check_refused(
        "[rails]\nallow = [\"onchain\"]",
        &["`rails.allow`", "cashu"],
    );
    check_refused(
        "[hosts]\nallow = [\"h.example\"]\ndeny = [\"H.example\"]",
        &["allowed and denied"],
    );
    let read = PolicyConfig::parse("[hosts]\nallow = [\"*.Example.org\", \"127.0.0.1\"]", "x");
    assert_eq!(read.unwrap().hosts.allow, ["*.example.org", "127.0.0.1"]);
}

#[test]
fn a_limit_is_for_one_thing_and_limits_it() {
    check_refused("[[only]]\ndaily = \"5sat\"", &["each names one"]);
    check_refused(
        "[[only]]\nhost = \"h\"\nrail = \"cashu\"\ndaily = \"5sat\"",
        &["each names one"],
    );
    check_refused("[[only]]\nhost = \"h\"", &["sets no limit"]);
    check_refused(
        "[[only]]\nhost = \"*.h\"\ndaily = \"5sat\"",
        &["`only.host`"],
    );
    let twice = "[[only]]\nhost = \"h\"\ndaily = \"5sat\"\n";
    check_refused(&twice.repeat(2), &["twice"]);
}

#[test]
fn files_are_found_by_the_name_of_their_agent() {
    let folder = tempfile::tempdir().unwrap();
    assert!(PolicyConfig::load_all(folder.path()).unwrap().is_empty());
    std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
    for name in ["scout", DEFAULT_POLICY] {
        let path = PolicyConfig::file(folder.path(), name);
        std::fs::write(path, "daily = \"5sat\"").unwrap();
    }

    let read = PolicyConfig::load_all(folder.path()).unwrap();

    assert_eq!(read.keys().collect::<Vec<_>>(), [DEFAULT_POLICY, "scout"]);
    let stray = folder.path().join(FOLDER).join("Not A Name.toml");
    std::fs::write(stray, "").unwrap();
    assert!(PolicyConfig::load_all(folder.path()).is_err());
}

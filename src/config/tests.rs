//! What a configuration may say, and what it answers when it may not.

use std::path::Path;

use feria_paywall::amount::{Msat, Sat};

use super::*;

mod lightning;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(
            self.path(),
            &Environment::from_pairs(variables.iter().copied()),
        )
    }
}

#[track_caller]
fn check_refused(text: &str, variables: &[(&str, &str)], parts: &[&str]) {
    let folder = Folder::with(&[(CONFIG_FILE, text)]);
    let message = folder.load(variables).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn the_sample_holds_every_key_with_its_default() {
    let folder = Folder::with(&[(CONFIG_FILE, SAMPLE), (RELAYS_FILE, SAMPLE_RELAYS)]);
    let mut sample: Table = SAMPLE.parse().unwrap();
    let mut known = known_keys();
    known.remove("mints");

    let loaded = folder.load(&[]).unwrap();
    sample.remove("mints");

    assert_eq!(sample, known);
    assert_eq!(loaded.public, PublicConfig::default());
    assert!(loaded.mints.is_empty(), "a fresh node trusts no mint");
    assert!(SAMPLE.contains("# [[mints]]"));
    assert_eq!(loaded.relays.len(), 6);
    assert!(loaded.relays.iter().any(|relay| relay.write));
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = Folder::with(&[(CONFIG_FILE, "")]).load(&[]).unwrap();

    assert_eq!(config.network, Network::Mainnet);
    assert_eq!(config.spend, SpendConfig::default());
    assert!(config.relays.is_empty());
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    check_refused(
        "[spend]\nmax_prise = \"5sat\"",
        &[],
        &[
            "feria.toml",
            "`spend.max_prise`",
            "did you mean `spend.max_price`",
        ],
    );
    check_refused("netwrok = \"regtest\"", &[], &["did you mean `network`"]);
    check_refused(
        "[[mints]]\nurll = \"x\"",
        &[],
        &["did you mean `mints.url`"],
    );
    check_refused("zzz = 1", &[], &["`zzz`", "remove it"]);
    check_refused(
        "",
        &[("FERIA_SPEND__MAX_PRIZE", "1sat")],
        &[
            "variable FERIA_SPEND__MAX_PRIZE",
            "did you mean `spend.max_price`",
        ],
    );
}

#[test]
fn a_variable_overrides_the_file() {
    let folder = Folder::with(&[(
        CONFIG_FILE,
        "[spend]\nmax_price = \"5sat\"\ntimeout_secs = 5",
    )]);

    let config = folder
        .load(&[
            ("FERIA_SPEND__MAX_PRICE", "7sat"),
            ("FERIA_PUBLIC__LISTEN", "127.0.0.1:0"),
            (
                "FERIA_MINTS",
                "[{ url = \"http://127.0.0.1:1/\", cap = \"9sat\" }]",
            ),
            ("FERIA_LOG", "debug"),
            ("HOME", "/"),
        ])
        .unwrap();

    assert_eq!(config.spend.max_price, Msat::new(7_000));
    assert_eq!(config.spend.timeout_secs, 5);
    assert_eq!(config.public.listen.port(), 0);
    assert_eq!(config.mints[0].cap, Sat::new(9));
    assert_eq!(config.mints[0].url, "http://127.0.0.1:1");
}

#[test]
fn a_bad_value_names_its_key_and_where_it_came_from() {
    check_refused(
        "[spend]\nmax_price = \"5\"\ntimeout_secs = 5",
        &[],
        &["feria.toml", "`spend.max_price`", "names no unit"],
    );
    check_refused(
        "[gateway]\nvault_cap = \"1500msat\"",
        &[],
        &["`gateway.vault_cap`", "whole number of sat"],
    );
    check_refused(
        "",
        &[("FERIA_ADMIN__LISTEN", "here")],
        &["variable FERIA_ADMIN__LISTEN", "`admin.listen`"],
    );
    check_refused("public = 3", &[], &["`public`", "[public]"]);
    check_refused(
        "[public]\nurl = \"ftp://x\"",
        &[],
        &["`public.url`", "https://"],
    );
    check_refused("network = \"maynet\"", &[], &["`network`", "maynet"]);
    check_refused(
        "seed = \"nsec1xyz\"",
        &[],
        &["`seed`", "never the secret itself"],
    );
    check_refused(
        "[gateway]\nvault_max_age_secs = 3600",
        &[],
        &["`gateway.vault_max_age_secs`", "half"],
    );
}

#[test]
fn a_file_that_is_not_toml_names_the_line() {
    check_refused("network = \"regtest\"\n[spend", &[], &["line 2"]);
}

#[test]
fn a_node_with_real_money_refuses_simulated_parts() {
    check_refused(
        "[lightning.backends.play]\nkind = \"simulated\"",
        &[],
        &["`lightning.backends.play.kind`", "network = \"simulated\""],
    );
    let play = Folder::with(&[(
        CONFIG_FILE,
        "network = \"simulated\"\n[lightning.backends.play]\nkind = \"simulated\"",
    )]);

    assert!(play.load(&[]).is_ok());
}

#[test]
fn a_node_with_play_money_refuses_real_backends() {
    let lnd = "[lightning.backends.node]\nkind = \"lnd\"";
    check_refused(
        &format!("network = \"simulated\"\n{lnd}"),
        &[],
        &["`lightning.backends.node.kind`", "real money"],
    );
    check_refused(
        &format!("{lnd}\nurl = \"http://10.0.0.1:8080\""),
        &[],
        &["`lightning.backends.node.url`", "https"],
    );

    assert!(Folder::with(&[(CONFIG_FILE, lnd)]).load(&[]).is_ok());
}

#[test]
fn a_missing_configuration_says_how_to_make_one() {
    let empty = tempfile::tempdir().unwrap();

    let message = Config::load(empty.path(), &Environment::default())
        .unwrap_err()
        .to_string();

    assert!(message.contains("feria init"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(CONFIG_FILE)).unwrap();

    let message = Config::load(folder.path(), &Environment::default())
        .unwrap_err()
        .to_string();

    assert!(message.contains(CONFIG_FILE), "{message}");
    assert!(message.contains("check its owner"), "{message}");
}

#[test]
fn agents_are_read_by_name_and_survive_a_round_trip() {
    let folder = Folder::with(&[(
        "agents/translate.toml",
        "upstream = \"http://127.0.0.1:9000\"\nprice = \"21sat\"",
    )]);
    let data = AgentConfig::new("data", "http://127.0.0.1:9001", Msat::new(1_500));

    data.save(folder.path()).unwrap();
    let agents = AgentConfig::load_all(folder.path()).unwrap();

    assert_eq!(agents[0], data);
    assert_eq!(agents[1].name, "translate");
    assert_eq!(agents[1].price, Msat::new(21_000));
    assert_eq!(agents[1].uses, 1);
}

#[test]
fn how_calls_are_forwarded_stands_in_the_agents_file() {
    let folder = Folder::with(&[(
        "agents/a.toml",
        "upstream = \"h2c://127.0.0.1:9\"\nprice = \"1sat\"\npause_timeout_secs = 5\n\
         strip_request_headers = [\"Cookie\"]\n[inject]\nX-Api-Key = \"env:KEY\"",
    )]);

    let agent = AgentConfig::load_all(folder.path()).unwrap().remove(0);
    agent.save(folder.path()).unwrap();

    let (url, is_http2) = agent.upstream_url().unwrap();
    assert_eq!((url.as_str(), is_http2), ("http://127.0.0.1:9/", true));
    assert_eq!(agent.forward.pause_timeout_secs, 5);
    assert_eq!(
        agent.forward.inject["X-Api-Key"],
        InjectedValue::from("env:KEY")
    );
    assert_eq!(AgentConfig::load_all(folder.path()).unwrap(), [agent]);
}

#[test]
fn an_agent_file_at_fault_is_named_with_its_key() {
    for (text, part) in [
        ("upstream = \"http://h\"\nprice = 21", "`price`"),
        (
            "upstream = \"http://h\"\nprise = \"21sat\"",
            "did you mean `price`",
        ),
        ("upstream = \"h\"\nprice = \"21sat\"", "`upstream`"),
        ("upstream = \"http://h\"\nprice = \"0sat\"", "`price`"),
        (
            "name = \"other\"\nupstream = \"http://h\"\nprice = \"1sat\"",
            "`name`",
        ),
        (
            "upstream = \"http://h\"\nprice = \"1sat\"\nrails = [\"card\"]",
            "`rails`",
        ),
        ("price = \"1sat\"", "upstream"),
        (
            "upstream = \"http://h\"\nprice = \"1sat\"\npause_timeout_sec = 5",
            "did you mean `pause_timeout_secs`",
        ),
        (
            "upstream = \"http://h\"\nprice = \"1sat\"\nupstream_ca = \"ca.pem\"",
            "`upstream_ca`",
        ),
        (
            "upstream = \"http://h\"\nprice = \"1sat\"\n[inject]\nUpgrade = \"x\"",
            "`inject`",
        ),
    ] {
        let folder = Folder::with(&[("agents/a.toml", text)]);
        let message = AgentConfig::load_all(folder.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains("a.toml"), "{message}");
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

#[test]
fn the_sample_of_an_agent_lists_every_key() {
    fn check(known: &Table, sample: &Table, path: &str) {
        for (key, value) in known {
            let path = format!("{path}.{key}");
            let Some(shown) = sample.get(key) else {
                panic!("agent.sample.toml lacks {path}");
            };
            match (value, shown) {
                (Value::Table(known), Value::Table(shown)) => check(known, shown, &path),
                (Value::Array(known), Value::Array(shown)) => {
                    if let (Some(Value::Table(known)), Some(Value::Table(shown))) =
                        (known.first(), shown.first())
                    {
                        check(known, shown, &path);
                    }
                }
                _ => {}
            }
        }
    }
    let text = include_str!("../../agent.sample.toml");

    check(&agent::known_keys(), &text.parse().unwrap(), "");
    let folder = Folder::with(&[("agents/agent.toml", text)]);
    let agents = AgentConfig::load_all(folder.path()).unwrap();

    assert_eq!(agents[0].sold().len(), 3);
}

#[test]
fn routes_inherit_what_they_leave_out() {
    let folder = Folder::with(&[(
        "agents/a.toml",
        r#"
        upstream = "http://h"
        price = "21sat"
        trial_calls = 2
        pricer = { url = "http://127.0.0.1:9100/price", fallback = "refuse" }
        [[routes]]
        path = "/v1/models/{name}"
        methods = ["get"]
        [[routes]]
        path = "/v1/chat/{*rest}"
        price = "5sat"
        capability = "chat"
        shadow = true
        [[routes]]
        path = "/health"
        free = true
        "#,
    )]);

    let agents = AgentConfig::load_all(folder.path()).unwrap();
    let sold = agents[0].sold();

    let terms: Vec<_> = sold.iter().map(|route| route.terms.as_ref()).collect();
    let [Some(own), Some(models), Some(chat), None] = terms[..] else {
        panic!("{sold:?}");
    };
    assert_eq!(
        (models, &sold[1].methods[..]),
        (own, &["GET".to_owned()][..])
    );
    let pricer = own.pricer.as_ref().unwrap();
    assert_eq!(
        (pricer.timeout_ms, pricer.fallback),
        (500, PriceFallback::Refuse)
    );
    assert_eq!((chat.price, &chat.pricer), (Msat::new(5_000), &None));
    assert!(chat.is_shadow && !own.is_shadow && chat.trial_calls == 2);
    agents[0].save(folder.path()).unwrap();
    assert_eq!(AgentConfig::load_all(folder.path()).unwrap(), agents);
}

#[test]
fn a_route_at_fault_is_named_with_its_key() {
    let own = "upstream = \"http://h\"\nprice = \"21sat\"\n";
    for (text, parts) in [
        (
            "[[routes]]\nprise = \"1sat\"\npath = \"/\"",
            &["did you mean `routes.price`"][..],
        ),
        ("[[routes]]\nprice = \"1sat\"", &["`routes`", "path"]),
        ("[[routes]]\npath = \"v1\"", &["`routes.path`", "slash"]),
        (
            "[[routes]]\npath = \"/a/../b\"",
            &["`routes.path`", "dot segments"],
        ),
        ("[[routes]]\npath = \"/a/%78\"", &["`routes.path`"]),
        ("[[routes]]\npath = \"/a/{b\"", &["`routes.path`"]),
        (
            "[[routes]]\npath = \"/\"",
            &["`routes.path`", "POST / stands there twice"],
        ),
        (
            "[[routes]]\npath = \"/{a}\"\n[[routes]]\npath = \"/{b}\"",
            &["`routes.path`", "/{b}"],
        ),
        (
            "[[routes]]\npath = \"/b\"\nprice = \"1sat\"",
            &["`routes.capability`", "of its own"],
        ),
        (
            "[[routes]]\npath = \"/b\"\nuses = 9",
            &["`routes.capability`"],
        ),
        (
            "[[routes]]\npath = \"/b\"\nfree = true\nuses = 1",
            &["`routes.free`"],
        ),
        (
            "[[routes]]\npath = \"/b\"\nmethods = [\"a b\"]",
            &["`routes.methods`"],
        ),
        (
            "[[routes]]\npath = \"/b\"\nrails = [\"card\"]",
            &["`routes.rails`"],
        ),
        (
            "[[routes]]\npath = \"/b\"\nvalid_secs = 0",
            &["`routes.valid_secs`"],
        ),
        ("pricer = { url = \"h\" }", &["`pricer`", "http://"]),
        (
            "pricer = { url = \"http://h\", timeout_ms = 0 }",
            &["`pricer`", "timeout_ms"],
        ),
        (
            "pricer = { url = \"http://h\", fallback = \"free\" }",
            &["`pricer`", "listed"],
        ),
        (
            "pricer = { uri = \"http://h\" }",
            &["did you mean `pricer.url`"],
        ),
        ("trial_window_secs = 0", &["`trial_window_secs`"]),
    ] {
        let folder = Folder::with(&[("agents/a.toml", &format!("{own}{text}"))]);
        let refused = AgentConfig::load_all(folder.path()).unwrap_err();
        let message = refused.to_string();
        for part in parts {
            assert!(
                message.contains("a.toml") && message.contains(part),
                "{message} lacks {part}"
            );
        }
    }
}

#[test]
fn trusted_proxies_are_addresses_and_networks() {
    let config = Folder::with(&[(
        CONFIG_FILE,
        "[public]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]",
    )])
    .load(&[])
    .unwrap();

    let is_trusted = |text: &str| {
        let proxies = &config.public.trusted_proxies;
        proxies.contains(text.parse().unwrap())
    };
    assert!(is_trusted("127.0.0.1") && is_trusted("::ffff:10.9.8.7") && is_trusted("fd00::1"));
    assert!(!is_trusted("127.0.0.2") && !is_trusted("11.0.0.1") && !is_trusted("::1"));
    check_refused(
        "[public]\ntrusted_proxies = [\"proxy\"]",
        &[],
        &["`public.trusted_proxies`", "10.0.0.0/8"],
    );
}

#[test]
fn a_relay_that_is_no_websocket_is_refused() {
    let folder = Folder::with(&[
        (CONFIG_FILE, ""),
        (RELAYS_FILE, "[[relays]]\nurl = \"https://relay.example\""),
    ]);

    let message = folder.load(&[]).unwrap_err().to_string();

    assert!(message.contains("relays.url"), "{message}");
    assert!(message.contains("wss://"), "{message}");
}

//! `[lightning]`: backends of several kinds, their names and roles.

use super::*;

#[test]
fn the_sample_shows_each_kind_of_lightning_backend_with_its_keys() {
    let mut shown = Vec::new();
    for block in SAMPLE.split("# [lightning.backends.").skip(1) {
        let lines = block.lines().skip(1);
        let is_setting = |line: &&str| {
            let key = line.split(" = ").next().unwrap_or_default();
            line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        let keys = lines.map_while(|line| line.strip_prefix("# ").filter(is_setting));
        let text: Vec<&str> = keys.collect();
        shown.push(text.join("\n").parse::<Table>().unwrap());
    }

    let known = BackendConfig::of_each_kind();

    assert_eq!(shown.len(), known.len());
    for backend in known {
        let keys = source::as_table(&backend);
        let example = shown.iter().find(|example| example["kind"] == keys["kind"]);
        let example = example.unwrap_or_else(|| panic!("no {}", backend.kind()));
        let (shown, known): (Vec<_>, Vec<_>) = (example.keys().collect(), keys.keys().collect());
        assert_eq!(shown, known, "{}", backend.kind());
    }
}

#[test]
fn lightning_backends_have_names_and_roles() {
    let text = "network = \"simulated\"\n[lightning]\nreceive = \"b\"\npay = [\"b\", \"a\"]\n\
        [lightning.backends.a]\nkind = \"simulated\"";
    let folder = Folder::with(&[(CONFIG_FILE, text)]);

    let several = folder
        .load(&[("FERIA_LIGHTNING__BACKENDS__B__KIND", "simulated")])
        .unwrap()
        .lightning;
    let one = Folder::with(&[(
        CONFIG_FILE,
        "network = \"simulated\"\n[lightning.backends.only]\nkind = \"simulated\"",
    )]);
    let one = one.load(&[]).unwrap().lightning;

    assert_eq!(several.receiver(), Some("b"));
    assert_eq!(several.payers(), ["b", "a"]);
    assert_eq!((one.receiver(), one.payers()), (Some("only"), vec!["only"]));
}

#[test]
fn a_lightning_backend_at_fault_is_named_with_its_key() {
    let one = "[lightning.backends.a]\nkind = \"simulated\"\n";
    let two = format!("{one}[lightning.backends.b]\nkind = \"simulated\"\n");
    for (text, parts) in [
        (
            "[lightning.backends.a]\nkind = \"lnf\"".to_owned(),
            &["`lightning.backends.a.kind`", "simulated"][..],
        ),
        (
            "[lightning.backends.a]\nkin = \"simulated\"".to_owned(),
            &["`lightning.backends.a.kind`"],
        ),
        (
            format!("{one}kinds = 1"),
            &[
                "`lightning.backends.a.kinds`",
                "did you mean `lightning.backends.a.kind`",
            ],
        ),
        (
            "[lightning.backends.\"a b\"]\nkind = \"simulated\"".to_owned(),
            &["`lightning.backends.a b`", "a-z"],
        ),
        (
            "[lightning]\nbackends = 3".to_owned(),
            &["`lightning.backends`", "[lightning.backends.NAME]"],
        ),
        (
            "[lightning]\nbackend = \"a\"".to_owned(),
            &["did you mean `lightning.backends`"],
        ),
        (two.clone(), &["`lightning.receive`", "a or b"]),
        (
            format!("[lightning]\nreceive = \"c\"\n{one}"),
            &["`lightning.receive`", "\"c\""],
        ),
        (
            format!("[lightning]\npay = [\"a\", \"c\"]\n{one}"),
            &["`lightning.pay`", "\"c\""],
        ),
        (
            format!("[lightning]\npay = [\"a\", \"a\"]\n{one}"),
            &["`lightning.pay`", "twice"],
        ),
    ] {
        check_refused(&format!("network = \"simulated\"\n{text}"), &[], parts);
    }
}

//! The files under `schemas/` and the tables of exit codes and of access are generated;
//! here they are compared, and written again when `FERIA_UPDATE_SCHEMAS` is set (`just schemas`).

use std::path::Path;

use feria::sandbox::demo::DemoReport;

#[track_caller]
fn check_schema(name: &str, schema: &schemars::Schema) {
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    check(&format!("schemas/{name}"), &text);
}

#[track_caller]
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("FERIA_UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stored, text, "{name} is stale: run `just schemas`");
}

#[test]
fn the_demo_report_is_as_its_schema_says() {
    check_schema("demo-report.json", &schemars::schema_for!(DemoReport));
}

#[test]
fn tiers_caveats_and_routes_are_as_documented() {
    check("docs/ACCESS.md", &feria::http::admin::markdown());
}

#[test]
fn the_exit_codes_are_as_documented() {
    check("docs/EXIT-CODES.md", &feria::cli::exit::markdown());
}

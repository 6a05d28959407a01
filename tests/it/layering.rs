//! The shape of the source tree: which module may import which, how long a file
//! may be, and that each file says what it is for.
//!
//! The ranks are those of `docs/ARCHITECTURE.md`. An import may only go from a
//! higher rank to a lower one, or stay inside its module.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines that no source file exceeds.
const MAX_LINES: usize = 500;

/// Modules by rank, highest first; those of one rank never import each other.
const RANKS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["sandbox"],
    &["app"],
    &["http", "mcp"],
    &["market", "gateway", "spend", "transfer", "access"],
    &["relay", "wallet", "lightning"],
    &["store"],
    &["config", "protocol", "client", "telemetry"],
    &["clock", "crash", "lifecycle"],
];

/// Foreign libraries that belong to one part: (crate, the modules that may name it).
const OWNERS: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("cdk", &["wallet", "sandbox"]),
    ("cdk_common", &["wallet", "sandbox"]),
    ("cdk_sqlite", &["sandbox"]),
    ("cdk_axum", &["sandbox"]),
    ("axum", &["http", "sandbox"]),
    ("hyper", &["http", "gateway"]),
    ("hyper_util", &["http", "gateway"]),
    ("clap", &["cli", "main"]),
    ("ldk_node", &["lightning"]),
    ("tokio_tungstenite", &["relay"]),
    ("reqwest", &["client", "gateway", "spend", "lightning"]),
];

/// What only `clock.rs` may call.
const AMBIENT: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "rand::rng(",
    "thread_rng(",
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

impl Source {
    /// The lines that ship: up to the first test module, comments left out.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text
            .lines()
            .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"))
            .map(|line| line.split("//").next().unwrap_or_default())
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let base = root().join(folder);
    let mut paths = Vec::new();
    rust_files(&base, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&base).unwrap();
            let first = relative.components().next().unwrap();
            let module = Path::new(first.as_os_str()).file_stem().unwrap();
            Source {
                module: module.to_string_lossy().into_owned(),
                text: fs::read_to_string(&path).unwrap(),
                path,
            }
        })
        .collect()
}

fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The modules of this crate that a line of code names.
fn named_modules(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (start, marker) in line.match_indices("crate::") {
        let before = line[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &line[start + marker.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group.split(',').filter_map(first_name));
        } else {
            found.extend(first_name(rest));
        }
    }
    found
}

fn first_name(text: &str) -> Option<&str> {
    let trimmed = text.trim_start();
    let end = trimmed
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(trimmed.len());
    (end > 0).then(|| &trimmed[..end])
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + name.len()..].trim_start();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '.')
            && (after.starts_with("::") || (after.starts_with(';') && line.contains("use ")))
    })
}

#[test]
fn imports_only_point_down() {
    let ranks: BTreeMap<&str, usize> = RANKS
        .iter()
        .enumerate()
        .flat_map(|(rank, modules)| modules.iter().map(move |module| (*module, rank)))
        .collect();
    let mut faults = Vec::new();
    for source in sources("src") {
        if source.module == "lib" || is_test_file(&source.path) {
            continue;
        }
        let Some(own) = ranks.get(source.module.as_str()) else {
            faults.push(format!("{}: module has no rank", source.path.display()));
            continue;
        };
        for line in source.code() {
            for named in named_modules(line) {
                match ranks.get(named) {
                    Some(rank) if named != source.module && rank <= own => faults.push(format!(
                        "{}: {} imports {named}",
                        source.path.display(),
                        source.module
                    )),
                    _ => {}
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_foreign_library_has_one_owner() {
    let mut faults = Vec::new();
    for source in sources("src") {
        if is_test_file(&source.path) {
            continue;
        }
        for line in source.code() {
            for (library, owners) in OWNERS {
                if names_crate(line, library) && !owners.contains(&source.module.as_str()) {
                    faults.push(format!("{}: {}", source.path.display(), line.trim()));
                }
            }
            if source.module != "clock" && AMBIENT.iter().any(|call| line.contains(call)) {
                faults.push(format!("{}: {}", source.path.display(), line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_paywall_crate_knows_no_node_part() {
    let faults: Vec<String> = sources("crates/paywall/src")
        .iter()
        .filter(|source| !is_test_file(&source.path))
        .flat_map(|source| {
            source
                .code()
                .filter(|line| {
                    ["feria", "cdk", "nostr", "axum", "rusqlite"]
                        .iter()
                        .any(|library| names_crate(line, library))
                })
                .map(|line| format!("{}: {}", source.path.display(), line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut faults = Vec::new();
    for folder in ["src", "crates/paywall/src", "tests"] {
        for source in sources(folder) {
            let lines = source.text.lines().count();
            if lines > MAX_LINES {
                faults.push(format!("{}: {lines} lines", source.path.display()));
            }
            if !source.text.starts_with("//!") {
                faults.push(format!("{}: no //! head", source.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_architecture_page_names_files_that_exist() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let bases = ["", "src", "crates/paywall/src"].map(|base| root().join(base));
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('/') || name.ends_with(".rs"))
        .filter(|name| !name.contains(['…', ' ', ':', '*']) && !name.starts_with(['/', 'a']))
        .collect();
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !bases.iter().any(|base| base.join(name).exists()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

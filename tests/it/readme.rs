//! README.md names commands; each must be one that the program understands.

use std::path::Path;

/// Every command line of README.md that begins with `feria`, from blocks and from
/// words in backticks, without comments.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            let line = line.split(" #").next().unwrap_or_default();
            found.extend(line.split("&&").map(|command| command.trim().to_owned()));
        } else {
            let code = line.split('`').skip(1).step_by(2);
            found.extend(code.map(str::to_owned));
        }
    }
    found.retain(|command| command.starts_with("feria "));
    found
}

#[test]
fn every_command_of_the_readme_is_understood() {
    let commands = commands();

    for command in &commands {
        let words = command.split_whitespace();
        assert_eq!(feria::cli::check(words), Ok(()), "README.md: {command}");
    }
    assert!(commands.len() > 12, "{commands:?}");
}

#[test]
fn a_command_that_drifted_would_be_noticed() {
    assert!(feria::cli::check(["feria", "wallet", "create"]).is_err());
    assert!(feria::cli::check(["feria", "fetch", "--budget", "5sat", "URL"]).is_err());
    assert!(feria::cli::check(["feria", "--help"]).is_ok());
}

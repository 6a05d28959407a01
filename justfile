# What a developer runs; `just` alone lists it.

default:
    @just --list

# The whole market on this machine, with play money.
demo:
    cargo run --release -- demo

# What has to pass before a commit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# What admits a change.
ci:
    bash .ci/run

# Writes the generated files under schemas/ and docs/ again.
schemas:
    FERIA_UPDATE_SCHEMAS=1 cargo test --test it schemas

# Licences, duplicate crates and advisories (needs cargo-deny).
deny:
    cargo deny check

# What the paywall costs, as ratios to references of the same run; see docs/PERFORMANCE.md.
bench *ARGS:
    cargo bench -p feria --benches -- {{ARGS}}

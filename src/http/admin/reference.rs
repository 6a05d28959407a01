//! The page `docs/ACCESS.md`, made of the tables that decide.

use super::routes::table;
use crate::access::{CAVEATS, Permission, Tier, permits};

/// Returns the page.
#[must_use]
pub fn markdown() -> String {
    let names: Vec<String> = Tier::ALL.iter().map(|tier| format!("`{tier}`")).collect();
    let mut lines = vec![
        "# Access to the node's API".to_owned(),
        String::new(),
        "Made from `src/access/tier.rs`, `src/access/caveat.rs` and `src/http/admin/routes.rs` by \
         `just schemas`; a test compares the two, and another tries every route with every tier."
            .to_owned(),
        String::new(),
        "A token is a macaroon: `Authorization: Bearer TOKEN`. `feria access issue` makes one, \
         `feria access inspect` says in words what it permits, `feria access narrow` makes a copy \
         that may do less and needs no node, `feria access list` and `feria access revoke` end one \
         with all its copies."
            .to_owned(),
        String::new(),
        "## Tiers".to_owned(),
        String::new(),
        format!("| permission | what it opens | {} |", names.join(" | ")),
        format!("|---|---|{}", "---|".repeat(names.len())),
    ];
    for permission in Permission::ALL {
        let cells: Vec<&str> = Tier::ALL
            .iter()
            .map(|tier| {
                if permits(*tier, permission) {
                    "yes"
                } else {
                    "no"
                }
            })
            .collect();
        lines.push(format!(
            "| `{permission}` | {} | {} |",
            permission.meaning(),
            cells.join(" | ")
        ));
    }
    lines.extend([
        String::new(),
        "`node-admin` belongs to no tier: it takes the operator's key, which derives from the \
         node's seed. The commands of the machine use it where they need it."
            .to_owned(),
        String::new(),
        "## Caveats".to_owned(),
        String::new(),
        "Whoever holds a token can add these, and nobody can take one away. A condition that is \
         not in this table, or a value that cannot be read, makes the token useless. A call that \
         does not name what a caveat bounds is refused."
            .to_owned(),
        String::new(),
        "| caveat | example | bounds |".to_owned(),
        "|---|---|---|".to_owned(),
    ]);
    for (condition, example, bounds) in CAVEATS {
        lines.push(format!("| `{condition}` | `{example}` | {bounds} |"));
    }
    lines.extend([
        String::new(),
        "## Routes".to_owned(),
        String::new(),
        "| method | path | permission | tiers |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ]);
    for route in table() {
        let tiers: Vec<String> = Tier::ALL
            .into_iter()
            .filter(|tier| permits(*tier, route.permission))
            .map(|tier| tier.to_string())
            .collect();
        let tiers = match tiers.len() {
            0 => "operator".to_owned(),
            4 => "all".to_owned(),
            _ => tiers.join(", "),
        };
        lines.push(format!(
            "| {} | `{}` | `{}` | {tiers} |",
            route.method, route.path, route.permission
        ));
    }
    lines.join("\n") + "\n"
}

//! The drawing of the dependencies, and the licences of what we use: both read from the manifests and enforced.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Who may use whom among our own crates: a crate may use what stands before it in its own row, and nothing else.
/// Types ← engines ← api ← faces.
const MAY_USE: &[(&str, &[&str])] = &[
    ("alcove-types", &[]),
    ("alcove-door", &["alcove-types"]),
    ("alcove-machine", &["alcove-types", "alcove-door"]),
    ("alcove-host", &["alcove-types", "alcove-machine"]),
    ("alcove-cluster", &["alcove-types", "alcove-door"]),
    ("alcove-api", &["alcove-types", "alcove-door", "alcove-host", "alcove-machine", "alcove-cluster"]),
    ("alcove-client", &["alcove-types", "alcove-machine"]),
    ("alcoved", &["alcove-types", "alcove-door", "alcove-machine", "alcove-cluster", "alcove-api"]),
    ("alcove-cli", &["alcove-types", "alcove-client", "alcove-host", "alcove-machine"]),
    ("alcove-desktop", &["alcove-types", "alcove-client", "alcove-machine"]),
    ("alcove-guest", &["alcove-types", "alcove-door"]),
    ("alcove-gateway", &["alcove-types"]),
    ("platformd", &["alcove-types", "alcove-gateway"]),
    ("xtask", &["alcove-types"]),
    ("alcove-machine-tests", &["alcove-types", "alcove-client", "alcove-machine"]),
    ("alcove-desktop-tests", &["alcove-types", "alcove-client", "alcove-machine", "alcove-machine-tests"]),
];

/// Licences that fit ours: those that ask for no more than their text being passed on, and MPL, which stays in its files.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "MIT-0",
    "MPL-2.0",
    "CDLA-Permissive-2.0",
    "bzip2-1.0.6",
    "NCSA",
    "OpenSSL",
];

fn metadata() -> Value {
    let output = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ours(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages: Vec<&Value> =
        metadata["packages"].as_array().unwrap().iter().filter(|p| p["source"].is_null()).collect();
    let names: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    packages
        .iter()
        .map(|p| {
            let uses = p["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
            let uses = uses.map(|d| d["name"].as_str().unwrap()).filter(|n| names.contains(n)).map(str::to_owned);
            (p["name"].as_str().unwrap().to_owned(), uses.collect())
        })
        .collect()
}

#[test]
fn every_crate_uses_only_what_stands_left_of_it() {
    let mut wrong = Vec::new();
    for (name, uses) in ours(&metadata()) {
        let Some((_, allowed)) = MAY_USE.iter().find(|(n, _)| *n == name) else {
            wrong.push(format!("{name} is not in the drawing"));
            continue;
        };
        wrong
            .extend(uses.iter().filter(|u| !allowed.contains(&u.as_str())).map(|u| format!("{name} must not use {u}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_drawing_has_no_circle() {
    for (place, (name, uses)) in MAY_USE.iter().enumerate() {
        for used in *uses {
            let other = MAY_USE.iter().position(|(n, _)| n == used).unwrap();
            assert!(other < place, "{name} uses {used}, which stands right of it");
        }
    }
}

#[test]
fn licences_fit_ours() {
    let metadata = metadata();
    let fits = |expression: &str| {
        expression
            .replace('/', " OR ")
            .split(" OR ")
            .any(|choice| choice.split(" AND ").all(|one| LICENCES.contains(&one.trim().trim_matches(['(', ')']))))
    };
    let wrong: Vec<String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| {
            let licence = p["license"].as_str().unwrap_or("none");
            (!fits(licence)).then(|| format!("{} {}: {licence}", p["name"], p["version"]))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

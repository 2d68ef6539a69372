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

/// What more a crate's tests and its build may use.
const TESTS_MAY_USE: &[(&str, &str)] = &[
    // It is asked as every face asks it.
    ("alcoved", "alcove-client"),
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

/// What each of our crates uses of the others: in what is shipped, or in its tests and its build.
fn ours(metadata: &Value, shipped: bool) -> BTreeMap<String, BTreeSet<String>> {
    let packages: Vec<&Value> =
        metadata["packages"].as_array().unwrap().iter().filter(|p| p["source"].is_null()).collect();
    let names: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    packages
        .iter()
        .map(|p| {
            let uses = p["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null() == shipped);
            let uses = uses.map(|d| d["name"].as_str().unwrap()).filter(|n| names.contains(n)).map(str::to_owned);
            (p["name"].as_str().unwrap().to_owned(), uses.collect())
        })
        .collect()
}

#[test]
fn every_crate_uses_only_what_stands_left_of_it() {
    let mut wrong = Vec::new();
    let metadata = metadata();
    for shipped in [true, false] {
        for (name, uses) in ours(&metadata, shipped) {
            let Some((_, allowed)) = MAY_USE.iter().find(|(n, _)| *n == name) else {
                wrong.push(format!("{name} is not in the drawing"));
                continue;
            };
            let may = |used: &str| {
                allowed.contains(&used) || !shipped && TESTS_MAY_USE.iter().any(|(n, more)| *n == name && *more == used)
            };
            wrong.extend(uses.iter().filter(|u| !may(u)).map(|u| format!("{name} must not use {u}")));
        }
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

/// Whether these terms can be kept together with ours. Old manifests write `/` for `OR`.
fn fits(expression: &str) -> bool {
    spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX)
        .is_ok_and(|terms| terms.evaluate(|wanted| LICENCES.contains(&wanted.to_string().as_str())))
}

#[test]
fn terms_are_read_as_they_are_meant() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR GPL-3.0-only) AND Unicode-3.0"] {
        assert!(fits(good), "{good}");
    }
    for bad in ["GPL-3.0-only", "(MIT OR Apache-2.0) AND GPL-3.0-only", "MIT AND (ISC AND AGPL-3.0-only)", "none", ""] {
        assert!(!fits(bad), "{bad}");
    }
    assert!(fits("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only"));
}

#[test]
fn licences_fit_ours() {
    let metadata = metadata();
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

/// What the pages are made of goes to people as well.
#[test]
fn licences_of_the_interface_fit_ours() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ui/package-lock.json");
    let lock: Value = serde_json::from_slice(&std::fs::read(lock).unwrap()).unwrap();
    let shipped: Vec<(&String, &Value)> = lock["packages"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, p)| path.contains("node_modules/") && p["link"] != true && p["dev"] != true)
        .collect();
    assert!(!shipped.is_empty());
    let wrong: Vec<String> = shipped
        .into_iter()
        .filter_map(|(path, p)| {
            let licence = p["license"].as_str().unwrap_or("none");
            (!fits(licence)).then(|| format!("{path} {}: {licence}", p["version"]))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

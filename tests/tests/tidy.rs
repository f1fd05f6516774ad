//! What the repository promises about itself, checked on its files.
//!
//! Invariant: a rule that stands in ARCHITECTURE.md or README.md and can be read off the files is a test here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use seedmq_tests::tools::repository;

/// Files of the repository by their path from its root, with forward slashes; what git ignores is left out.
fn files() -> Vec<String> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let out = Command::new("git").current_dir(repository()).args(list).output().expect("git runs");
    assert!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    let all = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    let existing: Vec<String> = all.into_iter().filter(|path| repository().join(path).is_file()).collect();
    assert!(existing.len() > 50, "git names the files: {existing:?}");
    existing
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(folders: &[&str]) -> Vec<String> {
    let inside =
        |path: &String| path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(&format!("{folder}/")));
    files().into_iter().filter(inside).collect()
}

/// Modules that are compiled for tests only, and everything under `tests/` folders.
fn test_only() -> BTreeSet<PathBuf> {
    let mut out = BTreeSet::new();
    for path in rust_files(&["core", "real-runtime", "sim", "reports", "tests"]) {
        let lines: Vec<String> = read(&path).lines().map(|line| line.trim().to_owned()).collect();
        let file = Path::new(&path);
        let stem = file.file_stem().expect("a file has a name").to_string_lossy();
        let parent = file.parent().expect("a file has a folder");
        let home = if matches!(&*stem, "mod" | "lib" | "main") { parent.to_owned() } else { parent.join(&*stem) };
        for pair in lines.windows(2).filter(|pair| pair[0].starts_with("#[cfg(test)]")) {
            let declared = pair[1].split_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';'));
            if let Some(name) = declared {
                out.extend([home.join(format!("{name}.rs")), home.join(name).join("mod.rs")]);
            }
        }
        if path.contains("/tests/") {
            out.insert(PathBuf::from(path));
        }
    }
    out
}

/// The part of a source file that is no unit test, without comments.
fn production(path: &str) -> String {
    let text = read(path);
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let code = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent = |path: &String| !read(path).starts_with("//!");
    let found = rust_files(&["core", "real-runtime", "sim", "reports", "tests"]).into_iter().filter(silent);
    assert_none(found.collect(), "these files do not begin with //!");
}

#[test]
fn no_source_file_is_too_long() {
    let lengths = rust_files(&["core", "real-runtime", "sim", "reports", "tests"])
        .into_iter()
        .map(|path| (read(&path).lines().count(), path));
    let long = lengths.filter(|(lines, _)| *lines > 700).map(|(lines, path)| format!("{path}: {lines} lines"));
    assert_none(long.collect(), "these files are longer than 700 lines");
}

#[test]
fn a_machine_is_stepped_in_one_place() {
    let tests = test_only();
    let files = rust_files(&["core", "real-runtime", "sim", "reports"]).into_iter();
    let mut callers = Vec::new();
    for path in files.filter(|path| !tests.contains(Path::new(path))) {
        let code = production(&path);
        callers.extend(
            code.lines().filter(|line| line.contains("node.step(")).map(|line| format!("{path}: {}", line.trim())),
        );
    }
    assert_eq!(callers.len(), 1, "Node::step has one caller outside unit tests, the driver: {callers:#?}");
    assert!(callers[0].starts_with("real-runtime/src/driver/"), "{callers:?}");
}

#[test]
fn the_simulator_has_no_codec_of_its_own() {
    let tests = test_only();
    // The reader of the checker's own must not share code with the store; the filter of faults looks for frame borders.
    let allowed = ["sim/src/whitebox/reader.rs", "sim/src/whitebox/index.rs", "sim/src/net/filter.rs"];
    let outside = |path: &String| !allowed.contains(&path.as_str()) && !tests.contains(Path::new(path));
    let signs = ["_be_bytes(", "\"extFields\"", "\"serializeTypeCurrentRPC\""];
    let mut found = Vec::new();
    for path in rust_files(&["sim"]).into_iter().filter(outside) {
        let code = production(&path);
        found.extend(signs.iter().filter(|sign| code.contains(*sign)).map(|sign| format!("{path}: {sign}")));
    }
    assert_none(found, "frames and records are read and written by core alone");
    let stored: Vec<String> = rust_files(&["sim/src/whitebox"])
        .into_iter()
        .filter(|path| production(path).contains("seedmq_core::store"))
        .collect();
    assert_none(stored, "the checker's reader of stores shares nothing with the store");
}

/// Packages of ours in a manifest's tables of dependencies (dev-dependencies apart).
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let parsed: toml::Table = read(manifest).parse().unwrap_or_else(|error| panic!("{manifest}: {error}"));
    let mut tables = vec![parsed.get("dependencies")];
    let targets = parsed.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    tables.extend(targets.map(|(_, target)| target.get("dependencies")));
    let names = tables.into_iter().flatten().filter_map(toml::Value::as_table).flat_map(|table| table.keys().cloned());
    names.filter(|name| name.starts_with("seedmq")).collect()
}

#[test]
fn dependencies_point_one_way() {
    let ours = |manifest: &str| dependencies(manifest).into_iter().collect::<Vec<_>>();
    assert_eq!(ours("core/Cargo.toml"), [""; 0], "core depends on nothing of ours");
    assert_eq!(ours("real-runtime/Cargo.toml"), ["seedmq-core"]);
    assert_eq!(ours("reports/Cargo.toml"), [""; 0], "reports knows only the records that it shows");
    assert_eq!(ours("sim/Cargo.toml"), ["seedmq", "seedmq-core", "seedmq-reports"]);
    for manifest in files().into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        assert!(!dependencies(&manifest).contains("seedmq-tests"), "{manifest} depends on the tests");
    }
}

#[test]
fn nothing_names_one_machine_or_one_registry() {
    let join = |parts: [&str; 2]| parts.concat();
    let forbidden = [
        join(["/wor", "k/"]),
        join(["/ro", "ot/"]),
        join(["repo1.ma", "ven"]),
        join(["repo.ma", "ven"]),
        join(["proxy.go", "lang"]),
        join(["py", "pi.org"]),
        join(["registry.np", "mjs"]),
        join(["static.crates", ".io"]),
        join(["index.crates", ".io"]),
    ];
    let binary = |path: &str| [".gz", ".png", ".bin", ".zip"].iter().any(|end| path.ends_with(end));
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| !binary(path) && path != "Cargo.lock") {
        let text = String::from_utf8_lossy(&fs::read(repository().join(&path)).unwrap_or_default()).into_owned();
        found
            .extend(forbidden.iter().filter(|word| text.contains(word.as_str())).map(|word| format!("{path}: {word}")));
    }
    assert_none(found, "paths of one machine and hosts of registries do not belong here");
}

#[test]
fn every_scenario_says_what_it_protects() {
    let scenarios: Vec<String> =
        files().into_iter().filter(|path| path.starts_with("scenarios/") && path.ends_with(".toml")).collect();
    assert!(scenarios.len() >= 9, "{scenarios:?}");
    let silent = scenarios.into_iter().filter(|path| !read(path).trim_start().starts_with('#'));
    assert_none(silent.collect(), "these scenarios do not begin with a comment");
}

/// Names in `macro!("name")` anywhere in core and driver, comments apart.
fn marks(name: &str) -> BTreeSet<String> {
    let (mut out, call) = (BTreeSet::new(), format!("{name}!(\""));
    for path in
        rust_files(&["core", "real-runtime/src/driver"]).into_iter().filter(|path| !path.ends_with("src/marks.rs"))
    {
        let code = production(&path).replace(['\n', ' '], "");
        let found = code.split(&call).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned));
        out.extend(found);
    }
    out
}

#[test]
fn the_catalogue_of_plants_is_complete() {
    let planted = marks("planted");
    let catalogue: BTreeSet<String> = seedmq_sim::plants::PLANTS.iter().map(|plant| plant.name.to_owned()).collect();
    assert!(planted.len() >= 5, "the core has plants: {planted:?}");
    assert_none(
        planted.difference(&catalogue).cloned().collect(),
        "planted in core or driver, but not in the catalogue",
    );
    assert_none(catalogue.difference(&planted).cloned().collect(), "in the catalogue, but planted nowhere");
}

#[test]
fn the_architecture_names_every_folder() {
    let text = read("ARCHITECTURE.md");
    let folders: BTreeSet<String> =
        files().iter().filter_map(|path| path.split_once('/').map(|(top, _)| top.to_owned())).collect();
    let unnamed = folders.into_iter().filter(|top| !top.starts_with('.') && !text.contains(&format!("{top}/")));
    assert_none(unnamed.collect(), "ARCHITECTURE.md does not mention these folders");
}

#[test]
fn clients_without_a_lock_file_do_not_exist() {
    let all = files();
    for path in ["tests/clients/go/go.sum", "Cargo.lock"] {
        assert!(all.iter().any(|known| known == path), "{path} is missing: builds would not be repeatable");
    }
}

#[test]
fn the_licence_is_there_as_a_whole() {
    assert!(files().iter().any(|path| path == "LICENSE"), "LICENSE is missing");
    let text = read("LICENSE");
    for part in ["Apache License", "Version 2.0, January 2004", "9. Accepting Warranty", "END OF TERMS AND CONDITIONS"]
    {
        assert!(text.contains(part), "LICENSE lacks {part:?}");
    }
    let manifest: toml::Table = read("Cargo.toml").parse().expect("the manifest is TOML");
    assert_eq!(manifest["workspace"]["package"]["license"].as_str(), Some("Apache-2.0"));
}

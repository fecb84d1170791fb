//! The shape of the house, kept by reading the imports.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, low to high: each imports only from those before it.
const LAYERS: &[&str] = &[
    "sys", "cli", "lock", "holders", "run", "exit", "report", "flock", "program", "bin",
];

/// Crates that only one layer may use.
const FENCED: &[(&str, &str)] = &[
    ("libc", "sys"),
    ("clap", "cli"),
    ("lexopt", "cli"),
    ("humantime", "cli"),
];

/// The files of the builtin that may have `unsafe`: bash's structures and functions, and what bash calls.
const BUILTIN_UNSAFE: &[&str] = &["ffi.rs", "entry.rs"];

/// The sources below a folder of the package.
fn sources_in(folder: &str) -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&test_support::workspace_root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder}: no sources");
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).expect("a source"));
    found.into_iter().map(read).collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    sources_in("src")
}

/// Whether a line of code has to do with `unsafe`.
fn is_unsafe(line: &str) -> bool {
    line.contains("unsafe ") || line.contains("unsafe(") || line.contains("unsafe_code")
}

fn layer_of(path: &Path) -> String {
    let src = test_support::workspace_root().join("src");
    let inside = path.strip_prefix(src).expect("below src");
    let first = inside
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file without its comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
}

/// The layers that a line names: `crate::lock`, `fdlock::lock`, `use crate::{lock, run}`.
fn named(line: &str) -> Vec<&'static str> {
    let word = |text: &str, layer: &str| {
        text.split(|letter: char| !letter.is_alphanumeric())
            .any(|part| part == layer)
    };
    let after = ["crate::", "fdlock::"]
        .iter()
        .flat_map(|root| line.split(root).skip(1))
        .collect::<Vec<_>>();
    let hit = |layer: &&&str| {
        after.iter().any(|rest| match rest.strip_prefix('{') {
            Some(list) => word(list, layer),
            None => rest.split(|letter: char| !letter.is_alphanumeric()).next() == Some(layer),
        })
    };
    LAYERS.iter().filter(hit).copied().collect()
}

#[test]
fn imports_only_point_down() {
    let height = |layer: &str| LAYERS.iter().position(|known| *known == layer);
    for (path, text) in sources() {
        let layer = layer_of(&path);
        if layer == "lib" {
            continue;
        }
        let own =
            height(&layer).unwrap_or_else(|| panic!("{}: which layer is this?", path.display()));
        for line in code(&text) {
            for used in named(line) {
                assert!(
                    height(used) <= Some(own),
                    "{}: {layer} imports {used}: {line}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn unsafe_code_and_single_layer_crates_stay_behind_their_fences() {
    for (path, text) in sources() {
        let layer = layer_of(&path);
        for line in code(&text) {
            for (krate, home) in FENCED {
                let used = line.contains(&format!("{krate}::"));
                assert!(
                    !used || layer == *home,
                    "{}: {krate} belongs to {home}: {line}",
                    path.display()
                );
            }
            let may = ["sys", "bin", "lib"].contains(&layer.as_str());
            assert!(
                !is_unsafe(line) || may,
                "{}: unsafe belongs to sys: {line}",
                path.display()
            );
        }
    }
}

#[test]
fn the_builtin_keeps_unsafe_code_where_bash_is() {
    for (path, text) in sources_in("builtin/src") {
        let name = path.file_name().expect("a name").to_string_lossy();
        for line in code(&text) {
            let denied = name == "lib.rs" && line.contains("#![deny(unsafe_code)]");
            assert!(
                !is_unsafe(line) || denied || BUILTIN_UNSAFE.contains(&&*name),
                "{}: unsafe belongs to ffi.rs and entry.rs: {line}",
                path.display()
            );
            for krate in ["libc::", "clap::", "lexopt::", "humantime::"] {
                assert!(
                    !line.contains(krate) || krate == "libc::" && name == "ffi.rs",
                    "{}: no {krate} here: {line}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn what_bash_may_jump_away_from_is_called_by_the_entry_alone() {
    // See the builtin's page: a frame that owns something must not be on the stack then.
    let jumps = [
        "check_signals_and_traps()",
        "execute_function(",
        ".start(",
        ".wait_for(",
    ];
    for (path, text) in sources_in("builtin/src") {
        let name = path.file_name().expect("a name").to_string_lossy();
        for line in code(&text).filter(|_| !["entry.rs", "ffi.rs"].contains(&&*name)) {
            assert!(
                !jumps.iter().any(|call| line.contains(call)),
                "{}: only entry.rs may call this: {line}",
                path.display()
            );
        }
    }
}

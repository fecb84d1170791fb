//! The layers of the workspace, checked by reading its source files.
//!
//! A path in the code that names an item of another file of the workspace is a reference to that
//! file, whether it begins with `crate`, `super`, the name of a package, or that of an imported or
//! a child module. Neither `mod child;` nor the import of a module is a reference, but the paths
//! through that module are. An item that a module re-exports belongs to the module's file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde_json::Value;
use test_support::workspace_root;

/// The layers, each with its height and the beginning of its files' paths. A layer imports only
/// from itself and from lower layers.
const LAYERS: &[(u32, &str)] = &[
    (0, "src/sys"),
    (0, "models/"),
    (1, "src/cli"),
    (1, "src/lock"),
    (1, "src/remote"),
    (2, "src/holders"),
    (2, "src/run"),
    (3, "src/handle"),
    (4, "src/exit"),
    (5, "src/report"),
    (6, "src/flock"),
    (7, "src/program"),
    // An exported macro is named like an item of the crate's root.
    (8, "src/lib.rs"),
    (9, "src/bin"),
    (9, "builtin/"),
    (9, "historic/"),
    (9, "remote/"),
    (9, "tests/support/"),
    (10, "xtask/"),
];

/// Code with a restricted place, as (sources, tokens, the places in these sources).
const FENCES: &[(&str, &[&str], &[&str])] = &[
    ("src/", &["unsafe"], &["src/sys/", "src/bin/"]),
    ("src/", &["libc", ":", ":"], &["src/sys/"]),
    ("src/", &["lexopt", ":", ":"], &["src/cli/"]),
    ("src/", &["humantime", ":", ":"], &["src/cli/"]),
    ("historic/", &["unsafe"], &["historic/src/bin/"]),
    ("models/", &["unsafe"], &[]),
    // The structures and functions of bash, and the functions that bash calls.
    ("builtin/", &["unsafe"], BASH),
    ("builtin/", &["libc", ":", ":"], &["builtin/src/ffi"]),
    // Calls that bash may leave with longjmp(3): no frame that owns anything may be on the stack.
    ("builtin/", &["check_signals_and_traps", "("], BASH),
    ("builtin/", &["execute_function", "("], BASH),
    ("builtin/", &[".", "spawn_program", "("], BASH),
    ("builtin/", &[".", "exec_program", "("], BASH),
    ("builtin/", &[".", "resume_jump", "("], BASH),
];

const BASH: &[&str] = &["builtin/src/entry.rs", "builtin/src/ffi"];

/// Only `src/sys/procfs` parses files of `/proc`, so only there a string may begin with `/proc`.
/// These are the exceptions: paths that are only opened, linked, listed, or compared as a whole.
const PROC_PATHS: &[&str] = &[
    "historic/src/abstract_socket/owner.rs: /proc/{}/fd",
    "historic/src/new_file.rs: /proc/self/fd/{}",
    "historic/src/pid_file/inspect.rs: /proc/self/fd/{}",
    "historic/src/pid_file/owner.rs: /proc/self/ns/pid",
    "historic/src/pid_file/owner.rs: /proc/sys/kernel/random/boot_id",
    "remote/src/clock.rs: /proc/self/ns/time",
    "remote/src/clock.rs: /proc/sys/kernel/random/boot_id",
    "remote/src/front/parent.rs: /proc/{parent}/stat",
    "src/lock/descriptor.rs: /proc/{pid}/fd/{number}",
    "src/lock/fair/ticket.rs: /proc/self/ns/pid",
    "src/lock/fair/ticket.rs: /proc/self/ns/pid_for_children",
];

/// A source file, as tokens without comments and documentation.
struct Source {
    /// Its path from the root of the workspace.
    file: String,
    /// Its module, beginning with the name of the crate.
    module: String,
    code: Vec<String>,
    /// The unit tests, if the end of the file is a module `tests`.
    tests: Vec<String>,
}

/// The references between files, as (from, to), each with a path that makes it.
type References = BTreeMap<(String, String), String>;

/// Reads the sources of every package of the workspace.
fn sources() -> Vec<Source> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let output = cargo.current_dir(workspace_root()).output();
    let output = output.expect("cargo starts").stdout;
    let metadata: Value = serde_json::from_slice(&output).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let mut sources = Vec::new();
    for library in packages.iter().map(|package| &package["targets"][0]) {
        let root = Path::new(library["src_path"].as_str().expect("a path"));
        let name = library["name"].as_str().expect("a name");
        read_modules(root.parent().expect("a directory"), name, &mut sources);
    }
    sources
}

fn read_modules(dir: &Path, parent: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let module = match path.file_stem().expect("a name").to_string_lossy() {
            name if ["lib", "main", "mod"].contains(&&*name) => parent.to_owned(),
            name => format!("{parent}::{name}"),
        };
        if path.is_dir() {
            read_modules(&path, &module, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let file = path.strip_prefix(workspace_root()).expect("below it");
            let file = file.display().to_string();
            let mut code = Vec::new();
            flatten(text.parse().expect("Rust"), &mut code);
            let mut windows = code.windows(3);
            let tests = windows.position(|tokens| tokens == ["mod", "tests", "{"]);
            let tests = code.split_off(tests.unwrap_or(code.len()));
            sources.push(Source {
                file,
                module,
                code,
                tests,
            });
        }
    }
}

/// Appends the tokens of a file or of a part of it.
fn flatten(stream: TokenStream, tokens: &mut Vec<String>) {
    for tree in stream {
        let TokenTree::Group(group) = tree else {
            tokens.push(tree.to_string());
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket | Delimiter::None => ("[", "]"),
        };
        let start = tokens.len();
        tokens.push(open.to_owned());
        flatten(group.stream(), tokens);
        tokens.push(close.to_owned());
        // A documentation comment has become an attribute.
        if tokens[start..].starts_with(&["[".to_owned(), "doc".to_owned()]) {
            tokens.truncate(start);
        }
    }
}

/// Reads the path that begins with the first token, or all paths of an import, and appends each
/// with the name that it gives to what it imports. Returns the tokens after it.
fn read_paths<'a, 'b>(
    tokens: &'b [&'a str],
    prefix: &[&'a str],
    paths: &mut Vec<(Vec<&'a str>, &'a str)>,
) -> &'b [&'a str] {
    let mut path = [prefix, &tokens[..1]].concat();
    let mut rest = &tokens[1..];
    loop {
        match rest {
            [":", ":", "{", group @ ..] => {
                rest = group;
                while rest[0] != "}" {
                    rest = read_paths(rest, &path, paths);
                    rest = rest.strip_prefix(&[","]).unwrap_or(rest);
                }
                return &rest[1..];
            }
            [":", ":", segment, tail @ ..] => {
                path.push(segment);
                rest = tail;
            }
            ["as", name, tail @ ..] if [",", ";", "}"].contains(&tail[0]) => {
                paths.push((path, name));
                return tail;
            }
            _ => {
                path.pop_if(|last| *last == "self" && !prefix.is_empty());
                let name = path[path.len() - 1];
                paths.push((path, name));
                return rest;
            }
        }
    }
}

impl Source {
    /// Adds the references to other files, given the file of every module.
    fn add_references(&self, modules: &BTreeMap<String, String>, references: &mut References) {
        // The modules that this file can name: its crate, the packages, its children, its imports.
        let (package, _) = self.module.split_once("::").unwrap_or((&self.module, ""));
        let mut known = BTreeMap::from([("crate", package.to_owned())]);
        for module in modules.keys() {
            let (parent, name) = module.rsplit_once("::").unwrap_or(("", module));
            if parent.is_empty() || parent == self.module {
                known.insert(name, module.clone());
            }
        }
        let test_module = format!("{}::tests", self.module);
        for (here, tokens) in [(&self.module, &self.code), (&test_module, &self.tests)] {
            let tokens: Vec<&str> = tokens.iter().map(|token| &**token).collect();
            let (mut tokens, mut paths) = (&tokens[..], Vec::new());
            while !tokens.is_empty() {
                tokens = read_paths(tokens, &[], &mut paths);
            }
            for (path, name) in paths {
                let (mut module, mut rest) = match known.get(path[0]) {
                    Some(module) => (module.clone(), &path[1..]),
                    None if path[0] == "super" || path[0] == "self" => (here.clone(), &path[..]),
                    None => continue,
                };
                while let [segment, tail @ ..] = rest {
                    let child = format!("{module}::{segment}");
                    module = match *segment {
                        "self" => module,
                        "super" => module.rsplit_once("::").expect("a parent").0.to_owned(),
                        _ if modules.contains_key(&child) => child,
                        _ => break,
                    };
                    rest = tail;
                }
                match modules.get(&module).filter(|to| **to != self.file) {
                    _ if path.len() == 1 => {}
                    _ if rest.is_empty() => drop(known.insert(name, module)),
                    Some(to) => {
                        references.insert((self.file.clone(), to.clone()), path.join("::"));
                    }
                    None => {}
                }
            }
        }
    }
}

fn references() -> References {
    let sources = sources();
    let module = |source: &Source| (source.module.clone(), source.file.clone());
    let modules = sources.iter().map(module).collect();
    let mut references = References::new();
    for source in &sources {
        source.add_references(&modules, &mut references);
    }
    references
}

#[test]
fn files_do_not_import_each_other_in_cycles() {
    let references = references();
    let closes_cycle = |start: &str, end: &str| {
        let (mut reached, mut unvisited) = (BTreeSet::new(), vec![end]);
        while let Some(file) = unvisited.pop() {
            let imports = references.keys().filter(|(from, _)| from == file);
            let new = imports.filter(|(_, to)| reached.insert(to));
            unvisited.extend(new.map(|(_, to)| &**to));
        }
        reached.iter().any(|file| *file == start)
    };
    let mut in_cycles = String::new();
    for ((from, to), path) in &references {
        if closes_cycle(from, to) {
            in_cycles += &format!("{from} -> {to}: {path}\n");
        }
    }
    assert!(in_cycles.is_empty(), "cycles of imports:\n{in_cycles}");
}

#[test]
fn imports_only_point_down() {
    let layer = |file: &str| {
        let layer = LAYERS.iter().find(|(_, start)| file.starts_with(start));
        layer.unwrap_or_else(|| panic!("{file} is in no layer"))
    };
    for ((from, to), path) in references() {
        let (importer, imported) = (layer(&from), layer(&to));
        let is_allowed = importer == imported || imported.0 < importer.0;
        assert!(is_allowed, "{from} -> {to}: {path}");
    }
}

#[test]
fn fenced_code_stays_behind_its_fences() {
    for source in sources() {
        let file = source.file;
        let tokens = [source.code, source.tests].concat();
        for (_, fenced, places) in FENCES.iter().filter(|fence| file.starts_with(fence.0)) {
            let is_inside = places.iter().any(|place| file.starts_with(place));
            let occurs = tokens.windows(fenced.len()).any(|code| code == *fenced);
            assert!(is_inside || !occurs, "{file}: {fenced:?}");
        }
    }
}

#[test]
fn only_procfs_parses_proc() {
    for Source { file, code, .. } in sources() {
        let is_test = file.starts_with("tests/") || file.ends_with("tests.rs");
        let may_parse = is_test || file.starts_with("src/sys/procfs/");
        let strings = code.iter().filter_map(|token| token.split('"').nth(1));
        for path in strings.filter(|string| string.starts_with("/proc")) {
            let line = format!("{file}: {path}");
            assert!(may_parse || PROC_PATHS.contains(&&*line), "{line}");
        }
    }
}

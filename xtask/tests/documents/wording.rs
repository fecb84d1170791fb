//! Words and phrases that the texts avoid, because readers stumble over them: persons for
//! processes, clauses without a noun, and literal translations.
//!
//! A phrase is found in any case, as whole words, and across line breaks. To check more files, add
//! them to [`SCANNED`].

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use xtask::document::absolute;

/// The files that are checked, relative to the workspace; directories with everything below them.
/// Of Rust source, only comments and literals are checked.
const SCANNED: &[&str] = &[
    "README.md",
    "DESIGN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "docs",
    "man",
    "completions",
    "scripts",
    "src",
    "builtin/src",
    "historic/src",
    "historic/tests",
    "remote/src",
    "tests",
    "benches/src",
    "benches/README.md",
    "packaging",
    "xtask",
];

/// This file, which contains the banned phrases.
const SKIPPED: &str = file!();

/// The phrases, in lower case.
const BANNED: &[&str] = &[
    // Persons: a process is a process, the holder, a waiter, the caller.
    "he",
    "him",
    "his",
    "himself",
    "whoever",
    "whomever",
    "whom",
    "somebody",
    "anybody",
    "nobody",
    "everybody",
    "all who",
    "those who",
    "one who",
    // Negation by a noun: not a file, no such process.
    "is none",
    "are none",
    "is no regular",
    // Words and phrases that have a common equivalent.
    "all the same",
    "anew",
    "as ever",
    "be had",
    "behind file",
    "behind the file",
    "by way of",
    "deed",
    "folder",
    "folders",
    "for ever",
    "in a circle",
    "is through with",
    "so many",
    // The passive without a subject.
    "are told",
    "is said",
    "it is looked",
    "is told",
    "then is looked",
];

/// Where a banned word is right: user accounts, names, quotations such as licences.
const EXCEPTIONS: &[&str] = &[
    "user nobody",
    "nobody:nogroup",
    "`nobody`",
    "/nobody",
    "permit persons to whom",
];

#[test]
fn texts_avoid_banned_phrases() {
    let files = SCANNED.iter().flat_map(|path| files_below(Path::new(path)));
    let faults = files
        .filter(|file| file != Path::new(SKIPPED))
        .flat_map(|file| {
            let text = fs::read_to_string(absolute(&file)).expect("the file is UTF-8");
            faults_in(&file, &text)
        })
        .collect::<Vec<_>>();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn banned_phrase_is_found_with_its_line() {
    let faults = |file: &str, text: &str| faults_in(Path::new(file), text).join(", ");
    assert_eq!(faults("x", "a\nHe waits"), "x:2: he");
    let found = faults("x", "waits for\never and for ever");
    assert_eq!(found, "x:1: for ever, x:2: for ever");
    let found = faults("x.1", ".B waits \\fBfor\\fR\n.I ever");
    assert_eq!(found, "x.1:1: for ever");
    assert_eq!(faults("x", "as user nobody: --he, {he}, the"), "");
}

#[test]
fn only_comments_and_literals_of_source_are_checked() {
    let source = r##"let he = 'h'; // he /* him
let quote = '"'; let lifetime: &'static str = "his \" himself"; // whom
let raw = r#"anybody " somebody"#; /* nobody
 everybody */ anew();
"##;
    let lines = rust_prose(source);
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(0), ["he", "/*", "him"]);
    assert_eq!(words(1), ["his", "\\\"", "himself", "whom"]);
    assert_eq!(words(2), ["anybody", "\"", "somebody", "nobody"]);
    assert_eq!(words(3), ["everybody"]);
}

/// Returns `file:line: phrase` for each banned phrase in a text.
fn faults_in(file: &Path, text: &str) -> Vec<String> {
    let lines = prose(file, text);
    let mut text = String::new();
    let mut starts = Vec::new();
    for line in &lines {
        starts.push(text.len());
        for word in line.split_whitespace() {
            text.push_str(&word.to_lowercase());
            text.push(' ');
        }
    }
    let line_of = |at: usize| starts.partition_point(|start| *start <= at);
    let excepted = EXCEPTIONS
        .iter()
        .flat_map(|phrase| text.match_indices(phrase))
        .map(|(at, phrase)| at..at + phrase.len())
        .collect::<Vec<_>>();
    let mut faults = Vec::new();
    for phrase in BANNED {
        for (at, _) in text.match_indices(phrase) {
            let end = at + phrase.len();
            let is_whole =
                !text[..at].ends_with(is_of_word) && !text[end..].starts_with(is_of_word);
            if is_whole && !excepted.iter().any(|range| range.contains(&at)) {
                faults.push((line_of(at), phrase));
            }
        }
    }
    faults.sort();
    let fault = |(line, phrase)| format!("{}:{line}: {phrase}", file.display());
    faults.into_iter().map(fault).collect()
}

/// Whether a character is part of a word, an option or a variable in a format string.
fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || "_-{}".contains(letter)
}

/// Returns the files at and below a path, all relative to the workspace.
fn files_below(path: &Path) -> Vec<PathBuf> {
    let dir = absolute(path);
    if !dir.is_dir() {
        return vec![path.to_owned()];
    }
    let mut files = fs::read_dir(dir)
        .expect("a directory")
        .flat_map(|entry| files_below(&path.join(entry.expect("an entry").file_name())))
        .collect::<Vec<_>>();
    files.sort();
    files
}

/// Returns the lines of a file, prose only.
fn prose(file: &Path, text: &str) -> Vec<String> {
    match file.extension().and_then(OsStr::to_str) {
        Some("rs") => rust_prose(text),
        Some("1") => text.lines().map(without_roff).collect(),
        _ => text.lines().map(str::to_owned).collect(),
    }
}

/// Returns a line of a manual without requests, font changes and escapes.
fn without_roff(line: &str) -> String {
    let line = match line.strip_prefix('.') {
        Some(request) => request.split_once(' ').map_or("", |(_, rest)| rest),
        None => line,
    };
    [r"\fB", r"\fI", r"\fR", r"\&"]
        .iter()
        .fold(line.replace(r"\-", "-"), |line, font| {
            line.replace(font, "")
        })
}

/// Returns the comments and the literals of Rust source, each on its line.
fn rust_prose(source: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (length, opening, after_help) = token(rest);
        let token = &rest[..length];
        if opening > 0 {
            let inner = token[opening..length - after_help].trim_start_matches(['/', '!']);
            prose.push_str(&inner.replace("\\\n", "\n"));
            prose.push(' ');
        } else {
            prose.extend((first == '\n').then_some('\n'));
        }
        rest = &rest[length..];
    }
    prose.lines().map(str::to_owned).collect()
}

/// Returns the length of the comment, literal or other character at the start, and the lengths of
/// the delimiters of a comment or a string.
fn token(source: &str) -> (usize, usize, usize) {
    let until = |from: usize, end: &str| {
        let found = source[from..].find(end);
        found.map_or(source.len(), |at| from + at + end.len())
    };
    let bytes = source.as_bytes();
    let hashes = bytes[1..].iter().take_while(|byte| **byte == b'#').count();
    let quoted = |quote: u8| {
        let mut at = 1;
        while at < bytes.len() && bytes[at] != quote {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        (at + 1).min(bytes.len())
    };
    match bytes {
        [b'/', b'/', ..] => (source.find('\n').unwrap_or(source.len()), 2, 0),
        [b'/', b'*', ..] => (until(2, "*/"), 2, 2),
        [b'r', ..] if bytes.get(1 + hashes) == Some(&b'"') => {
            let end = format!("\"{}", "#".repeat(hashes));
            (until(2 + hashes, &end), 2 + hashes, 1 + hashes)
        }
        [b'"', ..] => (quoted(b'"'), 1, 1),
        // A character, not a lifetime.
        [b'\'', b'\\', ..] | [b'\'', _, b'\'', ..] => (quoted(b'\''), 0, 0),
        _ => (source.chars().next().map_or(0, char::len_utf8), 0, 0),
    }
}

//! The generated files, and those with a generated part.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use fdlock::cli::ProgramSpec;
use fdlock::flock;
use historic::{loto, me_only, runlock, ulock};

use crate::{clap_command, completions, option_lists};

/// The shells that there are completions for.
pub const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// The descriptions of all programs. The first is `flock`.
pub static PROGRAMS: [&ProgramSpec; 5] = [
    &flock::args::SPEC,
    &loto::args::SPEC,
    &me_only::args::SPEC,
    &runlock::args::SPEC,
    &ulock::args::SPEC,
];

/// A file that is generated, or a part of it.
struct Document {
    path: String,
    /// The lines around the part, in a file written by hand.
    markers: Option<[String; 2]>,
    text: String,
}

/// Returns the paths, relative to the workspace, of the documents that are out of date, and their
/// new texts.
///
/// # Errors
///
/// A file could not be read, or has no markers.
pub fn stale() -> io::Result<Vec<(String, String)>> {
    let mut stale = Vec::new();
    for document in PROGRAMS.into_iter().flat_map(documents_of) {
        if let Some(text) = document.update()? {
            stale.push((document.path, text));
        }
    }
    Ok(stale)
}

fn documents_of(spec: &ProgramSpec) -> Vec<Document> {
    let (dir, table) = match spec.name {
        "flock" => ("src/flock".to_owned(), "args/mod.rs"),
        name => (
            format!("historic/src/{}", name.replace('-', "_")),
            "args.rs",
        ),
    };
    let document = |path, comment: Option<&str>, text| Document {
        path,
        markers: comment.map(|comment| {
            [
                format!("{comment} options: begin (from {dir}/{table}; cargo xtask docs)\n"),
                format!("{comment} options: end\n"),
            ]
        }),
        text,
    };
    let mut documents = vec![
        document(format!("{dir}/help.txt"), None, clap_command::help(spec)),
        document(
            manual_path(spec),
            Some(r#".\""#),
            option_lists::manual(spec),
        ),
    ];
    documents.extend(SHELLS.map(|shell| {
        let (comment, text) = match spec.name {
            "flock" => (Some("#"), option_lists::flock_completion(shell)),
            _ => (None, completions::generate(spec, shell)),
        };
        document(completion_path(spec, shell), comment, text)
    }));
    documents
}

/// Returns the path of the program's manual, relative to the workspace.
pub fn manual_path(spec: &ProgramSpec) -> String {
    format!("man/{}.1", spec.name)
}

/// Returns the path of the program's completion for a shell, relative to the workspace.
pub fn completion_path(spec: &ProgramSpec, shell: Shell) -> String {
    match shell {
        Shell::Bash => format!("completions/{}.bash", spec.name),
        Shell::Zsh => format!("completions/_{}", spec.name),
        Shell::Fish => format!("completions/{}.fish", spec.name),
        _ => panic!("{shell}: no completions"),
    }
}

/// Returns the absolute path of a file in the workspace.
pub fn absolute(path: impl AsRef<Path>) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

impl Document {
    /// Returns the text that the file is to contain, or `None` if it is up to date.
    fn update(&self) -> io::Result<Option<String>> {
        let current = match fs::read_to_string(absolute(&self.path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            result => result.map_err(|error| self.error(error.kind(), &error.to_string()))?,
        };
        let text = match &self.markers {
            None => self.text.clone(),
            Some([begin, end]) => {
                let (before, rest) = self.split_at_marker(&current, begin)?;
                let (_, after) = self.split_at_marker(rest, end)?;
                [before, begin, &self.text, end, after].concat()
            }
        };
        Ok((text != current).then_some(text))
    }

    fn split_at_marker<'a>(&self, text: &'a str, marker: &str) -> io::Result<(&'a str, &'a str)> {
        match text.split(marker).collect::<Vec<_>>()[..] {
            [before, after] => Ok((before, after)),
            _ => {
                let reason = format!("not exactly one line `{}`", marker.trim_end());
                Err(self.error(ErrorKind::InvalidData, &reason))
            }
        }
    }

    fn error(&self, kind: ErrorKind, reason: &str) -> io::Error {
        io::Error::new(kind, format!("{}: {reason}", self.path))
    }
}

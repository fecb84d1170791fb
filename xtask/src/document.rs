//! The generated files, and those with a generated part.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fdlock::cli::ProgramSpec;
use fdlock::flock;
use historic::{loto, me_only, runlock, ulock};

use crate::shell::Shell;
use crate::{clap_command, completions, option_lists};

/// The descriptions of all programs. The first is `flock`.
pub static PROGRAMS: [&ProgramSpec; 5] = [
    &flock::args::SPEC,
    &loto::args::SPEC,
    &me_only::args::SPEC,
    &runlock::args::SPEC,
    &ulock::args::SPEC,
];

/// A file that is generated, or a part of it.
#[derive(Debug)]
pub struct Document {
    /// Its path, relative to the workspace.
    pub path: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The whole file.
    Whole(String),
    /// The lines between two markers; the rest is written by hand.
    Part {
        begin: String,
        end: String,
        text: String,
    },
}

/// Generates all documents.
pub fn all() -> Vec<Document> {
    PROGRAMS.into_iter().flat_map(documents_of).collect()
}

fn documents_of(spec: &ProgramSpec) -> Vec<Document> {
    let (help, table) = match spec.name {
        "flock" => (
            "src/flock/help.txt".to_owned(),
            "src/flock/args/mod.rs".to_owned(),
        ),
        name => {
            let dir = format!("historic/src/{}", name.replace('-', "_"));
            (format!("{dir}/help.txt"), format!("{dir}/args.rs"))
        }
    };
    let part = |comment: &str, text: String| Content::Part {
        begin: format!("{comment} options: begin (from {table}; cargo xtask docs)\n"),
        end: format!("{comment} options: end\n"),
        text,
    };
    let mut documents = vec![
        Document {
            path: help,
            content: Content::Whole(clap_command::help(spec)),
        },
        Document {
            path: manual_path(spec),
            content: part(r#".\""#, option_lists::manual(spec)),
        },
    ];
    documents.extend(Shell::ALL.map(|shell| Document {
        path: completion_path(spec, shell),
        content: match spec.name {
            "flock" => part("#", option_lists::flock_completion(shell)),
            _ => Content::Whole(completions::generate(spec, shell)),
        },
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
    }
}

/// Returns the absolute path of a file in the workspace.
pub fn absolute(path: impl AsRef<Path>) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

impl Document {
    /// Whether the file differs from what would be generated.
    ///
    /// # Errors
    ///
    /// The file could not be read, or has no markers.
    pub fn is_stale(&self) -> io::Result<bool> {
        match fs::read_to_string(absolute(&self.path)) {
            Ok(current) => Ok(current != self.updated(&current)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(self.error(error.kind(), &error.to_string())),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// The file could not be read or written, or has no markers.
    pub fn write(&self) -> io::Result<()> {
        let file = absolute(&self.path);
        let text = match &self.content {
            Content::Whole(text) => text.clone(),
            Content::Part { .. } => self.updated(&fs::read_to_string(&file)?)?,
        };
        fs::write(file, text)
    }

    /// Returns the current text with the generated part replaced.
    fn updated(&self, current: &str) -> io::Result<String> {
        let (begin, end, text) = match &self.content {
            Content::Whole(text) => return Ok(text.clone()),
            Content::Part { begin, end, text } => (begin, end, text),
        };
        let (before, rest) = self.split_at_marker(current, begin)?;
        let (_, after) = self.split_at_marker(rest, end)?;
        Ok([before, begin, text, end, after].concat())
    }

    fn split_at_marker<'a>(&self, text: &'a str, marker: &str) -> io::Result<(&'a str, &'a str)> {
        let parts = text.split(marker).collect::<Vec<_>>();
        match parts[..] {
            [before, after] => Ok((before, after)),
            _ => {
                let reason = format!("not exactly one line `{}`", marker.trim_end());
                Err(self.error(io::ErrorKind::InvalidData, &reason))
            }
        }
    }

    fn error(&self, kind: io::ErrorKind, reason: &str) -> io::Error {
        io::Error::new(kind, format!("{}: {reason}", self.path))
    }
}

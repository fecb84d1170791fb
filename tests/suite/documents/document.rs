//! Files that are made from the pages, or of which a part is.

use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};

use fdlock::cli::ProgramSpec;
use fdlock::flock;
use historic::{loto, me_only, runlock, ulock};

use super::shells::Shell;
use super::{blocks, frames, page};

/// Of all programs; the first is the one whose completions have frames of their own.
pub static PAGES: [&ProgramSpec; 5] = [
    &flock::args::SPEC,
    &loto::args::SPEC,
    &me_only::args::SPEC,
    &runlock::args::SPEC,
    &ulock::args::SPEC,
];

/// A file, whose it is, and how it is made.
pub struct Document {
    pub path: String,
    pub page: &'static ProgramSpec,
    made: Made,
}

enum Made {
    /// All of it.
    Whole(String),
    /// What stands between two marks; the rest is written by hand. And how comments begin in it.
    Part(&'static str, String),
}

/// All of them.
pub static ALL: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let of_page = |page: &'static ProgramSpec| {
        let rest = Shell::ALL.map(|shell| {
            let made = match page.name {
                "flock" => Made::Part("#", blocks::options(page, shell)),
                _ => Made::Whole(frames::completion(page, shell)),
            };
            (completion_path(page, shell), made)
        });
        let help = match page.name {
            "flock" => "src/flock/help.txt".to_owned(),
            _ => format!("historic/src/{}/help.txt", identifier(page)),
        };
        let manual = format!("man/{}.1", page.name);
        let first = [
            (help, Made::Whole(page::help(page))),
            (manual, Made::Part(r#".\""#, blocks::manual(page))),
        ];
        let documents = first.into_iter().chain(rest);
        documents.map(move |(path, made)| Document { path, page, made })
    };
    PAGES.into_iter().flat_map(of_page).collect()
});

/// The program's name where a dash cannot be.
pub fn identifier(page: &ProgramSpec) -> String {
    page.name.replace('-', "_")
}

/// The page's manual.
pub fn manual(page: &ProgramSpec) -> &'static Document {
    at(&format!("man/{}.1", page.name))
}

/// The page's completion for a shell.
pub fn completion(page: &ProgramSpec, shell: Shell) -> &'static Document {
    at(&completion_path(page, shell))
}

fn completion_path(page: &ProgramSpec, shell: Shell) -> String {
    match shell {
        Shell::Bash => format!("completions/{}.bash", page.name),
        Shell::Zsh => format!("completions/_{}", page.name),
        Shell::Fish => format!("completions/{}.fish", page.name),
    }
}

fn at(path: &str) -> &'static Document {
    let found = ALL.iter().find(|document| document.path == path);
    found.unwrap_or_else(|| panic!("no document {path}"))
}

impl Document {
    /// Where it is, made anew if `FDLOCK_WRITE_DOCS=1` asks for that: all of them before any test reads one.
    pub fn file(&self) -> PathBuf {
        static WRITTEN: OnceLock<()> = OnceLock::new();
        WRITTEN.get_or_init(|| {
            if std::env::var_os("FDLOCK_WRITE_DOCS").is_some_and(|value| value == "1") {
                for document in ALL.iter() {
                    std::fs::write(place(&document.path), document.wanted())
                        .expect("it is written");
                }
            }
        });
        place(&self.path)
    }

    /// What is in it.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("it is there, in UTF-8")
    }

    /// The table that it is made from.
    pub fn source(&self) -> String {
        match self.page.name {
            "flock" => "src/flock/args/mod.rs".to_owned(),
            _ => format!("historic/src/{}/args.rs", identifier(self.page)),
        }
    }

    /// What would be in it if it were made now.
    pub fn wanted(&self) -> String {
        let (comment, block) = match &self.made {
            Made::Whole(text) => return text.clone(),
            Made::Part(comment, block) => (comment, block),
        };
        let text = std::fs::read_to_string(place(&self.path)).expect("it is there, in UTF-8");
        let source = self.source();
        let begin = format!("{comment} options: begin (from {source}; make docs)\n");
        let end = format!("{comment} options: end\n");
        let cut = |mark: &str| {
            let mut parts = text.split(mark);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(before), Some(after), None) => (before.to_owned(), after.to_owned()),
                _ => panic!("{}: not exactly one line: {mark}", self.path),
            }
        };
        let (before, _) = cut(&begin);
        let (_, after) = cut(&end);
        [&before, &begin, block, &end, &after]
            .map(String::as_str)
            .concat()
    }
}

fn place(path: &str) -> PathBuf {
    test_support::workspace_root().join(path)
}

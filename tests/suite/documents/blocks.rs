//! `--help`, and the parts of the manual and of the completions, that are made from the table of options.

use std::path::PathBuf;
use std::sync::OnceLock;

use fdlock::cli::flock::PAGE;
use fdlock::cli::{Place, Shown};

use super::page;

/// A file with a part that is made, or all of it: where it is, what that says, and how comments begin in it.
pub struct Document {
    pub path: &'static str,
    comment: Option<&'static str>,
    block: fn() -> String,
}

pub static HELP: Document = Document {
    path: "src/cli/flock/help.txt",
    comment: None,
    block: page::help,
};

pub static MANUAL: Document = Document {
    path: "man/flock.1",
    comment: Some(r#".\""#),
    block: manual,
};

pub static BASH: Document = Document {
    path: "completions/flock.bash",
    comment: Some("#"),
    block: bash,
};

pub static ZSH: Document = Document {
    path: "completions/_flock",
    comment: Some("#"),
    block: zsh,
};

pub static FISH: Document = Document {
    path: "completions/flock.fish",
    comment: Some("#"),
    block: fish,
};

pub static ALL: [&Document; 5] = [&HELP, &MANUAL, &BASH, &ZSH, &FISH];

impl Document {
    /// Where it is, made anew if `FDLOCK_WRITE_DOCS=1` asks for that: all of them before any test reads one.
    pub fn file(&self) -> PathBuf {
        static WRITTEN: OnceLock<()> = OnceLock::new();
        WRITTEN.get_or_init(|| {
            if std::env::var_os("FDLOCK_WRITE_DOCS").is_some_and(|value| value == "1") {
                for document in ALL {
                    std::fs::write(document.place(), document.wanted()).expect("it is written");
                }
            }
        });
        self.place()
    }

    /// What is in it.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("it is there, in UTF-8")
    }

    /// What would be in it if it were made now.
    pub fn wanted(&self) -> String {
        let Some(comment) = self.comment else {
            return (self.block)();
        };
        let text = std::fs::read_to_string(self.place()).expect("it is there, in UTF-8");
        let begin = format!("{comment} options: begin (from src/cli/flock.rs; make docs)\n");
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
        [&before, &begin, &(self.block)(), &end, &after]
            .map(String::as_str)
            .concat()
    }

    fn place(&self) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), self.path].iter().collect()
    }
}

/// The table.
pub fn options() -> Vec<Shown> {
    (PAGE.options)()
}

/// Every way to write an option, letters first.
pub fn spellings(option: &Shown) -> Vec<String> {
    let letters = option.short.chars().map(|letter| format!("-{letter}"));
    let names = option.long.iter().map(|name| format!("--{name}"));
    letters.chain(names).collect()
}

/// Whether it stands behind the lock file.
pub fn is_behind(option: &Shown) -> bool {
    option.place == Place::BehindFile
}

/// The option list by `clap_mangen`, which knows nothing of further names, and puts `<>` around values.
fn manual() -> String {
    let mut command = page::command();
    for option in options() {
        let mut names = spellings(&option);
        names.retain(|name| {
            *name != format!("--{}", option.long[0])
                && option
                    .short
                    .chars()
                    .next()
                    .is_none_or(|letter| *name != format!("-{letter}"))
        });
        if !names.is_empty() {
            command = command.mut_arg(option.long[0], |arg| {
                let help = arg
                    .get_long_help()
                    .or(arg.get_help())
                    .expect("help")
                    .to_string();
                arg.long_help(format!("{help} Also written {}.", names.join(", ")))
            });
        }
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render_options_section(&mut page)
        .expect("into memory");
    let page = String::from_utf8(page).expect("what went in was");
    let (_, list) = page.split_once(".SH OPTIONS\n").expect("its heading");
    list.replace(r"\fI<", r"\fI")
        .replace(r">\fR", r"\fR")
        .replace(r"\*(Aq", r"\(aq")
}

/// `'it'\''s'`: a word for bash and zsh.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Two arrays of rows: spellings, the name of the value, help.
fn bash() -> String {
    let rows = |behind: bool| {
        options()
            .iter()
            .filter(|option| is_behind(option) == behind)
            .map(|option| {
                let names = spellings(option).join(" ");
                assert!(!option.help.contains('|'), "it parts the columns");
                let row = format!(
                    "{names}|{}|{}",
                    option.value.unwrap_or_default(),
                    option.help
                );
                format!("        {}\n", quoted(&row))
            })
            .collect::<String>()
    };
    format!(
        "_flock_options() {{\n    \
             # shellcheck disable=SC2016 # help, in which nothing is to be expanded\n    \
             options=(\n{}    )\n    \
             # shellcheck disable=SC2016\n    \
             behind=(\n{}    )\n\
         }}\n",
        rows(false),
        rows(true)
    )
}

/// Two arrays: for `_arguments`, and for `_describe`.
fn zsh() -> String {
    let escaped = |text: &str, special: &[char]| {
        text.chars().fold(String::new(), |mut text, letter| {
            if letter == '\\' || special.contains(&letter) {
                text.push('\\');
            }
            text.push(letter);
            text
        })
    };
    let (behind, first): (Vec<_>, Vec<_>) = options().into_iter().partition(is_behind);
    let specs = first.iter().map(|option| {
        let names = spellings(option);
        let help = format!("[{}]", escaped(option.help, &['[', ']', ':']));
        let value = option.value.map_or(String::new(), |name| {
            format!(":{name}: _flock_value {name}")
        });
        let heads = names.iter().map(|name| match option.value {
            None => name.clone(),
            Some(_) if name.starts_with("--") => format!("{name}="),
            Some(_) => format!("{name}+"),
        });
        let heads = match names.len() {
            1 => heads.collect(),
            _ => format!(
                "'({})'{{{}}}",
                names.join(" "),
                heads.collect::<Vec<_>>().join(",")
            ),
        };
        format!("    {heads}{}\n", quoted(&format!("{help}{value}")))
    });
    let words = behind.iter().flat_map(|option| {
        let help = escaped(option.help, &[':']);
        let row = move |name| format!("    {}\n", quoted(&format!("{name}:{help}")));
        spellings(option).into_iter().map(row)
    });
    format!(
        "_flock_options() {{\n  specs=(\n{}  )\n  behind=(\n{}  )\n}}\n",
        specs.collect::<String>(),
        words.collect::<String>()
    )
}

/// A `complete` for each option, and two functions for what is not one of fish's own subjects.
fn fish() -> String {
    let quoted = |word: &str| format!("'{}'", word.replace('\\', r"\\").replace('\'', r"\'"));
    let (behind, first): (Vec<_>, Vec<_>) = options().into_iter().partition(is_behind);
    let completes = first.iter().map(|option| {
        let letters = option.short.chars().map(|letter| format!(" -s {letter}"));
        let names = option.long.iter().map(|name| format!(" -l {name}"));
        let value = option.value.map_or(String::new(), |name| {
            format!(" -x -a '(__flock_value {name})'")
        });
        format!(
            "complete -c flock -n '__flock_at option'{}{value} -d {}\n",
            letters.chain(names).collect::<String>(),
            quoted(option.help)
        )
    });
    let valued = first
        .iter()
        .filter(|option| option.value.is_some())
        .flat_map(spellings);
    let all = first.iter().flat_map(spellings);
    let words = behind.iter().flat_map(|option| {
        let row =
            |name: String| format!("    printf '%s\\t%s\\n' {name} {}\n", quoted(option.help));
        spellings(option).into_iter().map(row)
    });
    format!(
        "{}function __flock_options\n    string split ' ' -- {}\nend\n\
         function __flock_options_with_value\n    string split ' ' -- {}\nend\n\
         function __flock_behind\n{}end\n",
        completes.collect::<String>(),
        quoted(&all.collect::<Vec<_>>().join(" ")),
        quoted(&valued.collect::<Vec<_>>().join(" ")),
        words.collect::<String>()
    )
}

//! The generated documents are up to date, and the parts written by hand agree with the programs.

#![allow(clippy::disallowed_methods, missing_docs)]

mod completions;
mod older;
mod pictures;
mod shells;
mod where_locks_work;
mod wording;

use std::fs;

use fdlock::cli::{OPTIONS_HEADING, ProgramSpec};
use fdlock::exit::{self, Statuses};
use test_support::{TestEnv, is_installed};
use xtask::PROGRAMS;
use xtask::document::{self, absolute, manual_path};
use xtask::option_lists::spellings;

fn statuses(spec: &ProgramSpec) -> &'static Statuses {
    match spec.name {
        "flock" => &exit::FLOCK,
        "loto" => &historic::exit::LOTO,
        "me-only" => &historic::exit::ME_ONLY,
        "runlock" => &historic::exit::RUNLOCK,
        "ulock" => &historic::exit::ULOCK,
        name => panic!("{name}: unknown statuses"),
    }
}

fn manual(spec: &ProgramSpec) -> String {
    fs::read_to_string(absolute(manual_path(spec))).expect("the manual can be read")
}

/// The roff source of a section of the program's manual.
fn section(spec: &ProgramSpec, heading: &str) -> String {
    let text = manual(spec);
    let (_, rest) = text
        .split_once(&format!("\n.SH {heading}\n"))
        .unwrap_or_else(|| panic!("{}: no section {heading}", spec.name));
    first_part(rest, "\n.SH ").to_owned()
}

fn first_part<'a>(text: &'a str, separator: &str) -> &'a str {
    text.split(separator).next().expect("split returns a part")
}

/// Resolves the escape sequences that the manuals use.
fn unescaped(text: &str) -> String {
    text.replace(r"\-", "-")
        .replace(r"\&", "")
        .replace(r"\(aq", "'")
}

#[test]
fn generated_documents_are_up_to_date() {
    let stale = document::stale().expect("documents can be read");
    let paths = stale.iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert!(paths.is_empty(), "run `cargo xtask docs`: {paths:?}");
}

#[test]
fn flock_prints_generated_help() {
    let env = TestEnv::without_builtin();
    if !env.is_reference() {
        env.run(["--help"])
            .assert_stdout(PROGRAMS[0].help)
            .assert_status(0);
    }
}

#[test]
fn help_names_every_spelling_of_every_option() {
    for spec in PROGRAMS {
        let help = spec.help;
        let words = help
            .split(|letter: char| letter.is_whitespace() || ",[]".contains(letter))
            .collect::<Vec<_>>();
        for name in (spec.options)().iter().flat_map(spellings) {
            assert!(words.contains(&&name[..]), "no {name} in:\n{help}");
        }
    }
}

#[test]
fn help_and_manual_list_options_by_group() {
    for spec in PROGRAMS {
        let options_section = section(spec, "OPTIONS");
        for option in &(spec.options)() {
            let name = match option.long.first() {
                Some(name) => format!("--{name}"),
                None => format!("-{}", option.short),
            };
            let (_, group) = spec
                .help
                .split_once(&format!("\n{}:\n", option.group))
                .expect("the group has a heading");
            let group = first_part(group, "\n\n");
            let ends = [' ', '['].map(|end| format!("{name}{end}"));
            assert!(
                ends.iter().any(|end| group.contains(end)),
                "{name}: {group}"
            );

            let group = if option.group == OPTIONS_HEADING {
                assert!(!options_section.contains(".SS "), "{options_section}");
                &options_section
            } else {
                let heading = format!(".SS {}\n", option.group);
                let (_, group) = options_section.split_once(&heading).expect("a subsection");
                first_part(group, ".SS ")
            };
            let group = unescaped(group);
            let is_listed = group.contains(&format!("\\fB{name}\\fR"));
            assert!(is_listed, "{name}: {group}");
        }
    }
}

#[test]
fn help_shows_every_synopsis() {
    for spec in PROGRAMS {
        for synopsis in spec.synopses {
            let (usage, help) = (format!(" {} {} ", spec.name, synopsis.args), spec.help);
            let is_shown = help.contains(&usage) && help.contains(synopsis.help);
            assert!(is_shown, "no {synopsis:?} in:\n{help}");
        }
    }
}

#[test]
fn manual_has_synopses_of_help() {
    for spec in PROGRAMS {
        let lines = |synopsis: &str| {
            let words = synopsis.lines().map(|line| {
                let (font, words) = line.split_once(' ').expect("a macro and words");
                let words = unescaped(words);
                match font {
                    // The macro joins its words, in alternating fonts.
                    ".RI" | ".IR" => words.replace(' ', ""),
                    _ => words,
                }
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let manual = section(spec, "SYNOPSIS")
            .split("\n.br\n")
            .map(lines)
            .collect::<Vec<_>>();
        let help = spec.synopses.iter();
        let help = help.map(|synopsis| format!("{} {}", spec.name, synopsis.args));
        assert_eq!(manual, help.collect::<Vec<_>>());
    }
}

#[test]
fn manual_explains_every_exit_status() {
    for spec in PROGRAMS {
        let explained = section(spec, "EXIT STATUS");
        let common = [exit::SUCCESS, exit::SOFTWARE];
        for status in statuses(spec).all().into_iter().chain(common) {
            let is_explained = explained.contains(&format!(".TP\n.B {status}\n"));
            assert!(is_explained, "{}: {status} is not explained", spec.name);
        }
    }
}

#[test]
fn manual_has_current_version_and_name() {
    for spec in PROGRAMS {
        let text = manual(spec);
        let title = text.lines().find(|line| line.starts_with(".TH "));
        let title = unescaped(title.expect("a title"));
        let start = format!(".TH {} 1 ", spec.name.to_uppercase());
        let version = concat!(" \"fdlock ", env!("CARGO_PKG_VERSION"), "\" ");
        assert!(title.starts_with(&start), "{title}");
        assert!(title.contains(version), "{title}");

        let name = unescaped(&section(spec, "NAME"));
        assert!(name.starts_with(&format!("{} - ", spec.name)), "{name}");
    }
}

#[test]
fn manual_formats_without_warnings() {
    let env = TestEnv::new();
    let checks: [&[&str]; 2] = [
        &["groff", "-man", "-ww", "-z", "-Tutf8"],
        &["mandoc", "-T", "lint", "-W", "warning"],
    ];
    for check in checks.iter().filter(|check| is_installed(check[0])) {
        for spec in PROGRAMS {
            let mut command = env.command(check[0]);
            command.args(&check[1..]).arg(absolute(manual_path(spec)));
            env.run_command(command).assert_all(0, "", "");
        }
    }
}

#[test]
fn manual_examples_are_valid_shell() {
    let env = TestEnv::new();
    for spec in PROGRAMS {
        let section = section(spec, "EXAMPLES");
        let examples = section.split("\n.EX\n").skip(1);
        let examples = examples
            .map(|rest| unescaped(first_part(rest, "\n.EE\n")))
            .collect::<Vec<_>>();
        assert!(examples.len() >= 3, "{examples:?}");
        for example in examples {
            let is_crontab_line = example.starts_with(|c: char| c.is_ascii_digit() || c == '*');
            let script = match example.split_once("\n\t") {
                // A makefile: the target, then the recipe.
                Some((_, recipe)) => recipe.replace("$(", "${").replace(')', "}"),
                None if is_crontab_line => {
                    let command = example.splitn(6, ' ').nth(5);
                    command.expect("a command after five fields").to_owned()
                }
                None => example.clone(),
            };
            assert!(script.contains(&format!("{} ", spec.name)), "{example}");
            let mut command = env.command("sh");
            command.args(["-n", "-c", &script]);
            env.run_command(command).assert_all(0, "", "");
        }
    }
}

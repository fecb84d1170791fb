//! The manual, `--help` and the completions, held against the program's table of options.
//!
//! `FDLOCK_WRITE_DOCS=1` makes the parts anew that are made from the table; that is `make docs`.

mod blocks;
mod completions;
mod page;
mod shells;

use fdlock::cli::flock::PAGE;

use crate::lab::{Lab, Outcome, installed};
use blocks::{ALL, MANUAL, options, spellings};

/// Ours, whatever the suite is run against.
fn our_help() -> Outcome {
    let lab = Lab::new();
    let mut command = lab.command(env!("CARGO_BIN_EXE_flock"));
    command.arg("--help");
    lab.finish(command).expect_code(0)
}

/// The lines of a section of the manual, as they are written.
fn section(heading: &str) -> String {
    let text = MANUAL.text();
    let (_, from) = text
        .split_once(&format!("\n.SH {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    from.split("\n.SH ").next().expect("a beginning").to_owned()
}

/// Text without what roff needs.
fn plain(text: &str) -> String {
    text.replace(r"\-", "-")
        .replace(r"\&", "")
        .replace(r"\(aq", "'")
}

#[test]
fn what_is_made_from_the_table_of_options_is_up_to_date() {
    for document in ALL {
        assert!(
            document.text() == document.wanted(),
            "{} and src/cli/flock.rs differ: run `make docs`",
            document.path
        );
    }
}

#[test]
fn help_names_every_option_in_every_spelling() {
    let help = our_help().out();
    let words = help
        .split(|letter: char| letter.is_whitespace() || ",[]".contains(letter))
        .collect::<Vec<_>>();
    for name in options().iter().flat_map(spellings) {
        assert!(words.contains(&name.as_str()), "{name} is not in:\n{help}");
    }
}

#[test]
fn help_shows_every_form() {
    let help = our_help().out();
    for form in PAGE.forms {
        assert!(
            help.contains(&format!(" flock {} ", form.words)) && help.contains(form.help),
            "not in the help: {form:?}\n{help}"
        );
    }
}

#[test]
fn the_manual_shows_the_forms_that_the_help_shows() {
    let synopsis = section("SYNOPSIS");
    let forms = synopsis
        .split("\n.br\n")
        .map(|form| {
            let parts = form.lines().map(|line| {
                let (font, words) = line.split_once(' ').expect("a macro and words");
                // Two fonts alternate within a word, one is for whole words.
                let words = plain(words);
                if font == ".RI" {
                    words.replace(' ', "")
                } else {
                    words
                }
            });
            parts.collect::<Vec<_>>().join(" ")
        })
        .collect::<Vec<_>>();
    assert_eq!(forms.len(), PAGE.forms.len(), "{forms:?}");
    for (form, shown) in forms.iter().zip(PAGE.forms) {
        assert_eq!(*form, format!("flock {}", shown.words));
    }
}

#[test]
fn the_manual_explains_every_status() {
    let explained = section("EXIT STATUS");
    let others = [fdlock::exit::SUCCESS, fdlock::exit::DEFECT];
    for status in fdlock::exit::FLOCK.statuses().into_iter().chain(others) {
        assert!(
            explained.contains(&format!(".TP\n.B {status}\n")),
            "{status} is not explained"
        );
    }
}

#[test]
fn the_manual_is_of_this_version() {
    let text = MANUAL.text();
    let title = text
        .lines()
        .find(|line| line.starts_with(".TH "))
        .expect("a title");
    let version = concat!(" \"fdlock ", env!("CARGO_PKG_VERSION"), "\" ");
    assert!(
        title.starts_with(".TH FLOCK 1 ") && title.contains(version),
        "{title}"
    );
}

#[test]
fn the_manual_can_be_formatted_without_a_warning() {
    let lab = Lab::new();
    let checks: [&[&str]; 2] = [
        &["groff", "-man", "-ww", "-z", "-Tutf8"],
        &["mandoc", "-T", "lint", "-W", "warning"],
    ];
    for check in checks.into_iter().filter(|check| installed(check[0])) {
        let mut command = lab.command(check[0]);
        command.args(&check[1..]).arg(MANUAL.file());
        lab.finish(command)
            .expect_err("")
            .expect_out("")
            .expect_code(0);
    }
}

#[test]
fn the_examples_of_the_manual_are_shell() {
    let examples = section("EXAMPLES");
    let examples = examples
        .split("\n.EX\n")
        .skip(1)
        .map(|rest| plain(rest.split("\n.EE\n").next().expect("a beginning")))
        .collect::<Vec<_>>();
    assert!(examples.len() >= 10, "{examples:?}");
    for example in examples {
        // In a crontab a time stands before the command, in a makefile a target.
        let script = match example.split_once("\n\t") {
            Some((_, recipe)) => recipe.replace("$(", "${").replace(')', "}"),
            None if example.starts_with(|first: char| first.is_ascii_digit() || first == '*') => {
                example
                    .splitn(6, ' ')
                    .nth(5)
                    .expect("five fields of time")
                    .to_owned()
            }
            None => example.clone(),
        };
        assert!(script.contains("flock "), "{example}");
        let lab = Lab::new();
        let mut command = lab.command("sh");
        command.args(["-n", "-c", &script]);
        lab.finish(command).expect_err("").expect_code(0);
    }
}

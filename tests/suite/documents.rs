//! The manual, `--help` and the completions, held against the program's table of options.
//!
//! `FDLOCK_WRITE_DOCS=1` makes the parts anew that are made from the table; that is `make docs`.

mod blocks;
mod completions;
mod document;
mod frames;
mod older;
mod page;
mod shells;
mod wording;

use fdlock::cli::ProgramSpec;
use fdlock::exit::{self, Statuses};

use blocks::spellings;
use document::{ALL, PAGES, manual};
use test_support::{Outcome, TestEnv, is_installed};

/// Ours, whatever the suite is run against.
fn our_help() -> Outcome {
    let env = TestEnv::new();
    let mut command = env.command(env!("CARGO_BIN_EXE_flock"));
    command.arg("--help");
    env.run_command(command).assert_status(0)
}

fn statuses(page: &ProgramSpec) -> &'static Statuses {
    match page.name {
        "flock" => &exit::FLOCK,
        "loto" => &historic::exit::LOTO,
        "me-only" => &historic::exit::ME_ONLY,
        "runlock" => &historic::exit::RUNLOCK,
        "ulock" => &historic::exit::ULOCK,
        name => panic!("which statuses has {name}?"),
    }
}

/// The lines of a section of a page's manual, as they are written.
fn section(page: &ProgramSpec, heading: &str) -> String {
    let text = manual(page).text();
    let (_, from) = text
        .split_once(&format!("\n.SH {heading}\n"))
        .unwrap_or_else(|| panic!("{}: no section {heading}", page.name));
    from.split("\n.SH ").next().expect("a beginning").to_owned()
}

/// Text without what roff needs.
fn plain(text: &str) -> String {
    text.replace(r"\-", "-")
        .replace(r"\&", "")
        .replace(r"\(aq", "'")
}

#[test]
fn what_is_made_from_the_tables_of_options_is_up_to_date() {
    for document in ALL.iter() {
        assert!(
            document.text() == document.wanted(),
            "{} and {} differ: run `make docs`",
            document.path,
            document.source()
        );
    }
}

#[test]
fn the_program_shows_the_help_of_its_page() {
    assert_eq!(our_help().stdout_text(), PAGES[0].help);
}

#[test]
fn help_names_every_option_in_every_spelling() {
    for page in PAGES {
        let words = page
            .help
            .split(|letter: char| letter.is_whitespace() || ",[]".contains(letter))
            .collect::<Vec<_>>();
        for name in (page.options)().iter().flat_map(spellings) {
            assert!(
                words.contains(&name.as_str()),
                "{name} is not in:\n{}",
                page.help
            );
        }
    }
}

#[test]
fn help_and_the_manual_list_every_option_under_its_heading() {
    for page in PAGES {
        let options = (page.options)();
        let listed = section(page, "OPTIONS");
        for option in &options {
            let spelling = match option.long.first() {
                Some(name) => format!("--{name}"),
                None => format!("-{}", option.short),
            };
            let start = page.help.find(&format!("\n{}:\n", option.group));
            let group = &page.help[start.expect("a heading") + 1..];
            let group = group.split("\n\n").next().expect("a beginning");
            assert!(
                group.contains(&format!("{spelling} ")),
                "{spelling}: {group}"
            );

            let is_single = options.iter().all(|other| other.group == option.group);
            let heading = format!(".SS {}\n", option.group);
            let group = match listed.split_once(&heading) {
                None if is_single => &listed,
                Some((_, group)) if !is_single => group,
                _ => panic!("{}: {heading}", page.name),
            };
            let group = plain(group.split(".SS ").next().expect("a beginning"));
            assert!(
                group.contains(&format!("\\fB{spelling}\\fR")),
                "{spelling}: {group}"
            );
        }
    }
}

#[test]
fn help_shows_every_form() {
    for page in PAGES {
        for form in page.synopses {
            assert!(
                page.help
                    .contains(&format!(" {} {} ", page.name, form.args))
                    && page.help.contains(form.help),
                "not in the help: {form:?}\n{}",
                page.help
            );
        }
    }
}

#[test]
fn the_manual_shows_the_forms_that_the_help_shows() {
    for page in PAGES {
        let synopsis = section(page, "SYNOPSIS");
        let forms = synopsis
            .split("\n.br\n")
            .map(|form| {
                let parts = form.lines().map(|line| {
                    let (font, words) = line.split_once(' ').expect("a macro and words");
                    // Two fonts alternate within a word, one is for whole words.
                    let words = plain(words);
                    if [".RI", ".IR"].contains(&font) {
                        words.replace(' ', "")
                    } else {
                        words
                    }
                });
                parts.collect::<Vec<_>>().join(" ")
            })
            .collect::<Vec<_>>();
        assert_eq!(forms.len(), page.synopses.len(), "{forms:?}");
        for (form, shown) in forms.iter().zip(page.synopses) {
            assert_eq!(*form, format!("{} {}", page.name, shown.args));
        }
    }
}

#[test]
fn the_manual_explains_every_status() {
    for page in PAGES {
        let explained = section(page, "EXIT STATUS");
        let others = [exit::SUCCESS, exit::SOFTWARE];
        for status in statuses(page).all().into_iter().chain(others) {
            assert!(
                explained.contains(&format!(".TP\n.B {status}\n")),
                "{}: {status} is not explained",
                page.name
            );
        }
    }
}

#[test]
fn the_manual_is_of_this_version() {
    for page in PAGES {
        let text = manual(page).text();
        let title = text
            .lines()
            .find(|line| line.starts_with(".TH "))
            .expect("a title");
        let name = page.name.to_uppercase();
        let version = concat!(" \"fdlock ", env!("CARGO_PKG_VERSION"), "\" ");
        assert!(
            plain(title).starts_with(&format!(".TH {name} 1 ")) && title.contains(version),
            "{title}"
        );
    }
}

#[test]
fn the_manual_is_found_by_name() {
    for page in PAGES {
        let name = section(page, "NAME");
        assert!(
            plain(&name).starts_with(&format!("{} - ", page.name)),
            "{name}"
        );
    }
}

#[test]
fn the_manual_can_be_formatted_without_a_warning() {
    let env = TestEnv::new();
    let checks: [&[&str]; 2] = [
        &["groff", "-man", "-ww", "-z", "-Tutf8"],
        &["mandoc", "-T", "lint", "-W", "warning"],
    ];
    let there = checks.into_iter().filter(|check| is_installed(check[0]));
    for (check, page) in there.flat_map(|check| PAGES.map(|page| (check, page))) {
        let mut command = env.command(check[0]);
        command.args(&check[1..]).arg(manual(page).file());
        env.run_command(command)
            .assert_stderr("")
            .assert_stdout("")
            .assert_status(0);
    }
}

#[test]
fn the_examples_of_the_manual_are_shell() {
    for page in PAGES {
        let examples = section(page, "EXAMPLES");
        let examples = examples
            .split("\n.EX\n")
            .skip(1)
            .map(|rest| plain(rest.split("\n.EE\n").next().expect("a beginning")))
            .collect::<Vec<_>>();
        assert!(examples.len() >= 3, "{examples:?}");
        for example in examples {
            // In a crontab a time stands before the command, in a makefile a target.
            let in_crontab = |first: char| first.is_ascii_digit() || first == '*';
            let script = match example.split_once("\n\t") {
                Some((_, recipe)) => recipe.replace("$(", "${").replace(')', "}"),
                None if example.starts_with(in_crontab) => example
                    .splitn(6, ' ')
                    .nth(5)
                    .expect("five fields of time")
                    .to_owned(),
                None => example.clone(),
            };
            assert!(script.contains(&format!("{} ", page.name)), "{example}");
            let env = TestEnv::new();
            let mut command = env.command("sh");
            command.args(["-n", "-c", &script]);
            env.run_command(command).assert_stderr("").assert_status(0);
        }
    }
}

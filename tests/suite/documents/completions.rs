//! What the shells offer for `flock`, where, and that nothing is lost or left behind on the way.

use std::fmt::Debug;

use fdlock::cli::OptionDoc;
use fdlock::flock::args::SPEC;

use super::blocks::{is_behind, spellings};
use super::document::{PAGES, completion};
use super::shells::Shell;
use test_support::{TestEnv, is_installed};

/// Whether all of these words, or none of them, are among the others.
#[track_caller]
pub fn expect_all<S: AsRef<str>>(offered: &[String], words: &[S], wanted: bool, whose: impl Debug) {
    for word in words {
        let word = word.as_ref();
        assert_eq!(
            offered.iter().any(|other| other == word),
            wanted,
            "{word}: {whose:?}: {offered:?}"
        );
    }
}

fn options() -> Vec<OptionDoc> {
    (SPEC.options)()
}

/// Every spelling of the options that stand before the first operand.
fn first_options() -> Vec<String> {
    let options = options();
    let first = options.iter().filter(|option| !is_behind(option));
    first.flat_map(spellings).collect()
}

#[test]
fn every_option_is_offered_in_every_spelling_before_the_first_operand() {
    let (names, letters): (Vec<_>, Vec<_>) = first_options()
        .into_iter()
        .partition(|name| name.starts_with("--"));
    for shell in Shell::all() {
        let [(_, some), (_, all), (_, behind_a_value)] =
            shell.offers(["flock --", "flock -", "flock -nE 5 --v"]);
        expect_all(&some, &names, true, shell);
        expect_all(&all, &letters, true, shell);
        expect_all(&behind_a_value, &["--verbose"], true, shell);
    }
}

#[test]
fn every_option_is_offered_with_what_it_does() {
    for shell in Shell::all() {
        let [shown] = <[String; 1]>::try_from(shell.shows(["flock --"], "")).expect("one list");
        for option in options().iter().filter(|option| !is_behind(option)) {
            assert!(
                shown.contains(option.help),
                "{shell:?}: {}: {shown}",
                option.help
            );
        }
    }
}

#[test]
fn a_single_match_is_inserted_by_bash_without_what_it_does() {
    assert_eq!(Shell::Bash.shows(["flock --verb"], ""), ["--verbose\n"]);
}

#[test]
fn bash_is_given_only_what_stands_behind_an_equals_sign() {
    let lines = [
        "flock --timeout=1",
        "flock sub/a=",
        "flock -n --wait=1 sub/a=b",
    ];
    let more = "touch sub/a=bc";
    assert_eq!(
        Shell::Bash.shows(lines, more),
        ["10s\n1m\n1h\n", "bc\n", "bc\n"]
    );
}

#[test]
fn bash_escapes_names_of_files_and_reads_quoted_ones_by_itself() {
    // Outside of a real completion compopt is an error; here it tells what it was called with.
    let more = r#"compopt() { echo "$@"; }"#;
    let shown = Shell::Bash.shows(["flock l", "flock \"l", "flock l\\"], more);
    assert_eq!(
        shown,
        ["-o filenames\nlk\n", "-o default\n", "-o default\n"]
    );
}

#[test]
fn no_option_is_offered_behind_the_first_operand() {
    for shell in Shell::all() {
        let lines = [
            "flock lk -",
            "flock -n -- lk -",
            "flock -w 5 lk jobjob -",
            "flock -- -",
        ];
        for (line, offered) in shell.offers(lines) {
            expect_all(&offered, &first_options(), false, (shell, line));
        }
    }
}

#[test]
fn files_folders_and_open_descriptors_are_offered_to_be_locked() {
    for shell in Shell::all() {
        let lines = [
            "flock ",
            "flock -n ",
            "flock -w 5 ",
            "flock --timeout=5 ",
            "flock -- ",
        ];
        for (line, mut offered) in shell.offers(lines) {
            for word in &mut offered {
                word.truncate(word.trim_end_matches('/').len());
            }
            expect_all(&offered, &["lk", "sub", "8", "9"], true, (shell, line));
        }
    }
}

#[test]
fn only_open_descriptors_that_a_command_inherits_are_offered_for_fd() {
    for shell in Shell::all() {
        for (line, mut offered) in shell.offers(["flock --fd ", "flock --fd="]) {
            // fish repeats what stands before the value.
            for word in &mut offered {
                *word = word.trim_start_matches("--fd=").to_owned();
            }
            assert_eq!(offered, ["8", "9"], "{shell:?}: {line}");
        }
    }
}

#[test]
fn files_are_offered_to_be_locked_too() {
    for shell in Shell::all() {
        let lines = ["flock --also ", "flock --also=", "flock --also lk --also "];
        for (line, mut offered) in shell.offers(lines) {
            for word in &mut offered {
                *word = word.trim_start_matches("--also=").to_owned();
                word.truncate(word.trim_end_matches('/').len());
            }
            expect_all(&offered, &["lk", "sub"], true, (shell, line));
        }
    }
}

#[test]
fn files_and_no_commands_are_offered_behind_who() {
    for shell in Shell::all() {
        let lines = [
            "flock --who ",
            "flock --who --pids ",
            "flock --json --who lk ",
            "flock --who lk sub ",
            "flock --who -- ",
        ];
        for (line, mut offered) in shell.offers(lines) {
            for word in &mut offered {
                word.truncate(word.trim_end_matches('/').len());
            }
            expect_all(&offered, &["lk", "sub"], true, (shell, line));
            expect_all(&offered, &["8", "9", "jobjob", "-c"], false, (shell, line));
        }
        for (line, offered) in shell.offers(["flock --who --fd 8 ", "flock --fd=8 --who "]) {
            expect_all(&offered, &["lk", "sub", "jobjob"], false, (shell, line));
        }
        for (line, mut offered) in shell.offers(["flock --who --fd "]) {
            for word in &mut offered {
                *word = word.trim_start_matches("--fd=").to_owned();
            }
            assert_eq!(offered, ["8", "9"], "{shell:?}: {line}");
        }
    }
}

#[test]
fn where_a_descriptor_leads_is_shown_by_shells_that_show_such_things() {
    for shell in Shell::all()
        .into_iter()
        .filter(|shell| *shell != Shell::Bash)
    {
        let shown = shell.shows(["flock --fd "], "").concat();
        let leads = |number: &str, file: &str| {
            let mut rows = shown.lines().map(str::trim);
            rows.any(|row| row.starts_with(number) && row.ends_with(file))
        };
        assert!(
            leads("8", "/lk") && leads("9", "/sub"),
            "{shell:?}: {shown}"
        );
    }
}

#[test]
fn times_are_offered_for_a_time_limit() {
    for shell in Shell::all() {
        let lines = [
            "flock -w ",
            "flock -nw ",
            "flock --wait ",
            "flock --timeout=",
            "flock -w5",
        ];
        for (line, offered) in shell.offers(lines) {
            assert!(
                offered.iter().any(|word| word.ends_with("5m")),
                "{shell:?}: {line}: {offered:?}"
            );
            expect_all(&offered, &["lk", "--fd"], false, (shell, line));
        }
    }
}

#[test]
fn nothing_is_offered_for_a_status_or_behind_a_line_of_shell() {
    for shell in Shell::all() {
        let lines = ["flock -E ", "flock lk -c true ", "flock lk --command true "];
        for (line, offered) in shell.offers(lines) {
            assert!(offered.is_empty(), "{shell:?}: {line}: {offered:?}");
        }
    }
}

#[test]
fn commands_are_offered_where_the_command_stands() {
    for shell in Shell::all() {
        let lines = [
            "flock lk jobj",
            "flock -nE5 lk jobj",
            "flock -w 5 lk jobj",
            "flock --timeout=5 lk jobj",
            "flock -- lk jobj",
            "flock --fd 8 jobj",
            "flock --fd=8 jobj",
            "flock lk -c jobj",
            "flock lk --command jobj",
        ];
        for (line, offered) in shell.offers(lines) {
            expect_all(&offered, &["jobjob"], true, (shell, line));
        }
        let lines = [
            "flock jobj",
            "flock -w jobj",
            "flock lk -c true jobj",
            "flock lk --fd 8 jobj",
        ];
        for (line, offered) in shell.offers(lines) {
            expect_all(&offered, &["jobjob"], false, (shell, line));
        }
    }
}

/// The library that zsh's completions stand on does not know shortened names.
#[test]
fn a_shortened_option_takes_its_value_in_bash_and_fish() {
    for shell in Shell::all()
        .into_iter()
        .filter(|shell| *shell != Shell::Zsh)
    {
        let [(_, offered)] = shell.offers(["flock --time 5 lk jobj"]);
        expect_all(&offered, &["jobjob"], true, shell);
    }
}

#[test]
fn a_line_of_shell_is_offered_right_behind_the_file_and_nowhere_else() {
    for shell in Shell::all() {
        for (line, offered) in shell.offers(["flock lk -", "flock -n lk --", "flock -w 5 lk --"]) {
            expect_all(&offered, &["--command"], true, (shell, line));
        }
        for (line, offered) in shell.offers(["flock --", "flock --fd 8 --", "flock lk jobjob --"]) {
            expect_all(&offered, &["-c", "--command"], false, (shell, line));
        }
    }
}

#[test]
fn the_command_is_completed_as_if_it_stood_alone() {
    let lines = [
        "flock lk jobjob ",
        "flock -w 5 lk jobjob ",
        "flock --fd=8 jobjob ",
        "flock -- lk jobjob x ",
    ];
    for shell in Shell::all()
        .into_iter()
        .filter(|shell| *shell != Shell::Bash)
    {
        for (line, offered) in shell.offers(lines) {
            expect_all(&offered, &["red", "green"], true, (shell, line));
        }
    }
    // In bash that is for the package bash-completion to do, by the newer or the older name.
    for helper in ["_comp_command_offset", "_command_offset"] {
        let stub =
            format!("{helper}() {{ [[ ${{COMP_WORDS[$1]}} == jobjob ]] && COMPREPLY=(red); }}");
        assert_eq!(Shell::Bash.shows(lines, &stub), ["red\n"; 4], "{helper}");
    }
}

#[test]
fn with_the_package_bash_completion_the_command_is_completed_as_if_it_stood_alone() {
    let package = "/usr/share/bash-completion/bash_completion";
    if std::path::Path::new(package).exists() {
        let more = format!(". {package}\n_job() {{ COMPREPLY=(red); }}\ncomplete -F _job jobjob\n");
        assert_eq!(
            Shell::Bash.shows(["flock -w 5 lk jobjob "], &more),
            ["red\n"]
        );
    }
}

#[test]
fn without_the_package_bash_offers_files_for_the_command() {
    let [(_, offered)] = Shell::Bash.offers(["flock lk jobjob "]);
    expect_all(&offered, &["lk", "sub"], true, "bash");
}

#[test]
fn for_bash_nothing_is_defined_besides_functions_of_its_own() {
    for page in PAGES {
        let env = TestEnv::new();
        let function = format!("_{}", page.name.replace('-', "_"));
        let script = format!(
            r#"names() {{ compgen -A function; compgen -v; }}
            before=$(names)
            . '{}'
            for last in -w -nw1 --fd= -L= --timeout= 8 true; do
                COMP_WORDS=({name} -r -w 5 --fd 8 -L x "$last") COMP_CWORD=8
                {function} {name} "$last" x
                COMP_WORDS=({name} -n lk -c -- "$last") COMP_CWORD=5
                {function} {name} "$last" --
            done
            comm -13 <(sort <<<"$before") <(names | sort)"#,
            completion(page, Shell::Bash).file().display(),
            name = page.name,
        );
        let outcome = env.bash(script).assert_stderr("").assert_status(0);
        // What bash itself and this script have set in between.
        let known = [
            "before",
            "last",
            "COMPREPLY",
            "COMP_WORDS",
            "COMP_CWORD",
            "BASH_LINENO",
            "FUNCNAME",
            "_",
        ];
        for name in outcome
            .stdout_text()
            .lines()
            .filter(|name| !known.contains(name))
        {
            assert!(name.starts_with(&function), "{name}");
        }
    }
}

#[test]
fn each_completion_for_bash_is_the_one_for_its_program() {
    for page in PAGES {
        let env = TestEnv::new();
        let file = completion(page, Shell::Bash).file();
        let script = format!(". '{}'; complete -p", file.display());
        let function = page.name.replace('-', "_");
        env.bash(script)
            .assert_stdout(&format!("complete -F _{function} {}\n", page.name))
            .assert_stderr("");
    }
}

#[test]
fn the_completions_for_bash_are_clean_to_shellcheck() {
    for page in PAGES.iter().filter(|_| is_installed("shellcheck")) {
        let env = TestEnv::new();
        let mut command = env.command("shellcheck");
        command.arg(completion(page, Shell::Bash).file());
        env.run_command(command).assert_stdout("").assert_status(0);
    }
}

//! What shells offer for `flock`, and where.

use fdlock::cli::{OptPosition, OptionDoc};
use fdlock::flock::args::SPEC;
use test_support::{TestEnv, is_installed};
use xtask::Shell;
use xtask::document::{absolute, completion_path};
use xtask::option_lists::spellings;

use super::shells::{assert_all_offer, assert_offered, installed_shells, lists, offers};

/// The options that are written before the first operand.
fn leading_options() -> impl Iterator<Item = OptionDoc> {
    let options = (SPEC.options)().into_iter();
    options.filter(|option| option.position == OptPosition::BeforeOperands)
}

fn leading_spellings() -> Vec<String> {
    leading_options()
        .flat_map(|option| spellings(&option))
        .collect()
}

#[test]
fn every_spelling_of_every_option_is_offered() {
    let (long, short): (Vec<_>, Vec<_>) = leading_spellings()
        .into_iter()
        .partition(|name| name.starts_with("--"));
    assert_all_offer(["flock --"], &long, true);
    assert_all_offer(["flock -"], &short, true);
    assert_all_offer(["flock -nE 5 --v"], &["--verbose"], true);
}

#[test]
fn options_are_listed_with_help() {
    for shell in installed_shells() {
        let shown = lists(shell, ["flock --"], "").concat();
        for help in leading_options().map(|option| option.help) {
            assert!(shown.contains(help), "{shell:?}: {help}: {shown}");
        }
    }
}

#[test]
fn bash_inserts_single_match_without_help() {
    assert_eq!(lists(Shell::Bash, ["flock --verb"], ""), ["--verbose\n"]);
}

#[test]
fn bash_receives_only_text_after_equals_sign() {
    let lines = [
        "flock --timeout=1",
        "flock sub/a=",
        "flock -n --wait=1 sub/a=b",
    ];
    let shown = lists(Shell::Bash, lines, "touch sub/a=bc");
    assert_eq!(shown, ["10s\n1m\n1h\n", "bc\n", "bc\n"]);
}

#[test]
fn bash_escapes_file_names_and_handles_quoted_words() {
    // Outside of readline, compopt fails; here it prints its arguments.
    let setup = r#"compopt() { echo "$@"; }"#;
    let lines = ["flock l", "flock \"l", "flock l\\"];
    let shown = lists(Shell::Bash, lines, setup);
    assert_eq!(
        shown,
        ["-o filenames\nlk\n", "-o default\n", "-o default\n"]
    );
}

#[test]
fn no_option_is_offered_after_first_operand() {
    let lines = [
        "flock lk -",
        "flock -n -- lk -",
        "flock -w 5 lk jobjob -",
        "flock -- -",
    ];
    assert_all_offer(lines, &leading_spellings(), false);
}

#[test]
fn files_directories_and_descriptors_are_offered() {
    let lines = [
        "flock ",
        "flock -n ",
        "flock -w 5 ",
        "flock --timeout=5 ",
        "flock -- ",
    ];
    assert_all_offer(lines, &["lk", "sub", "8", "9"], true);
}

#[test]
fn inheritable_descriptors_are_offered_for_fd() {
    let lines = ["flock --fd ", "flock --fd=", "flock --who --fd "];
    for shell in installed_shells() {
        for (line, offered) in offers(shell, lines) {
            assert_eq!(offered, ["8", "9"], "{shell:?}: {line}");
        }
    }
}

#[test]
fn files_are_offered_for_also() {
    let lines = ["flock --also ", "flock --also=", "flock --also lk --also "];
    assert_all_offer(lines, &["lk", "sub"], true);
}

#[test]
fn only_files_are_offered_after_who() {
    let file_lines = [
        "flock --who ",
        "flock --who --pids ",
        "flock --json --who lk ",
        "flock --who lk sub ",
        "flock --who -- ",
    ];
    let fd_lines = ["flock --who --fd 8 ", "flock --fd=8 --who "];
    assert_all_offer(file_lines, &["lk", "sub"], true);
    assert_all_offer(file_lines, &["8", "9", "jobjob", "-c"], false);
    assert_all_offer(fd_lines, &["lk", "sub", "jobjob"], false);
}

#[test]
fn zsh_and_fish_show_files_of_descriptors() {
    for shell in installed_shells().filter(|shell| *shell != Shell::Bash) {
        let shown = lists(shell, ["flock --fd "], "").concat();
        for (number, file) in [("8", "/lk"), ("9", "/sub")] {
            let mut rows = shown.lines().map(str::trim);
            let is_shown = rows.any(|row| row.starts_with(number) && row.ends_with(file));
            assert!(is_shown, "{shell:?}: {shown}");
        }
    }
}

#[test]
fn durations_are_offered_for_timeout() {
    let lines = [
        "flock -w ",
        "flock -nw ",
        "flock --wait ",
        "flock --timeout=",
        "flock -w5",
    ];
    for shell in installed_shells() {
        for (line, offered) in offers(shell, lines) {
            let has_duration = offered.iter().any(|word| word.ends_with("5m"));
            assert!(has_duration, "{shell:?}: {line}: {offered:?}");
            assert_offered(&offered, &["lk", "--fd"], false, (shell, line));
        }
    }
}

#[test]
fn nothing_is_offered_for_status_or_after_command_line() {
    let lines = ["flock -E ", "flock lk -c true ", "flock lk --command true "];
    for shell in installed_shells() {
        for (line, offered) in offers(shell, lines) {
            assert!(offered.is_empty(), "{shell:?}: {line}: {offered:?}");
        }
    }
}

#[test]
fn commands_are_offered_only_in_their_place() {
    let command_lines = [
        "flock lk jobj",
        "flock -nE5 lk jobj",
        "flock -w 5 lk jobj",
        "flock --timeout=5 lk jobj",
        "flock -- lk jobj",
        "flock --fd 8 jobj",
        "flock --fd=8 jobj",
        "flock --name n jobj",
        "flock lk -c jobj",
        "flock lk --command jobj",
    ];
    let other_lines = [
        "flock jobj",
        "flock -w jobj",
        "flock lk -c true jobj",
        "flock lk --fd 8 jobj",
    ];
    assert_all_offer(command_lines, &["jobjob"], true);
    assert_all_offer(other_lines, &["jobjob"], false);
}

/// zsh's `_arguments` does not know abbreviations.
#[test]
fn bash_and_fish_know_abbreviated_options() {
    for shell in installed_shells().filter(|shell| *shell != Shell::Zsh) {
        let [(_, offered)] = offers(shell, ["flock --time 5 lk jobj"]);
        assert_offered(&offered, &["jobjob"], true, shell);
    }
}

#[test]
fn command_option_is_offered_only_after_file() {
    let after_file = ["flock lk -", "flock -n lk --", "flock -w 5 lk --"];
    assert_all_offer(after_file, &["--command"], true);
    let elsewhere = ["flock --", "flock --fd 8 --", "flock lk jobjob --"];
    assert_all_offer(elsewhere, &["-c", "--command"], false);
}

#[test]
fn command_is_completed_by_its_own_completion() {
    let lines = [
        "flock lk jobjob ",
        "flock -w 5 lk jobjob ",
        "flock --fd=8 jobjob ",
        "flock -- lk jobjob x ",
    ];
    for shell in installed_shells().filter(|shell| *shell != Shell::Bash) {
        for (line, offered) in offers(shell, lines) {
            assert_offered(&offered, &["red", "green"], true, (shell, line));
        }
    }
    // In bash, the package bash-completion does that, with a function of either name.
    for helper in ["_comp_command_offset", "_command_offset"] {
        let stub =
            format!("{helper}() {{ [[ ${{COMP_WORDS[$1]}} == jobjob ]] && COMPREPLY=(red); }}");
        let shown = lists(Shell::Bash, lines, &stub);
        assert_eq!(shown, ["red\n"; 4], "{helper}");
    }
}

#[test]
fn bash_completion_package_completes_command() {
    let package = "/usr/share/bash-completion/bash_completion";
    if std::path::Path::new(package).exists() {
        let setup =
            format!(". {package}\n_job() {{ COMPREPLY=(red); }}\ncomplete -F _job jobjob\n");
        let shown = lists(Shell::Bash, ["flock -w 5 lk jobjob "], &setup);
        assert_eq!(shown, ["red\n"]);
    }
}

#[test]
fn bash_without_package_offers_files_for_command() {
    let [(_, offered)] = offers(Shell::Bash, ["flock lk jobjob "]);
    assert_offered(&offered, &["lk", "sub"], true, "bash");
}

#[test]
fn bash_completion_defines_only_its_functions() {
    let env = TestEnv::new();
    let file = absolute(completion_path(&SPEC, Shell::Bash));
    let script = format!(
        r#"names() {{ compgen -A function; compgen -v; }}
        before=$(names)
        . '{}'
        for last in -w -nw1 --fd= --timeout= 8 true; do
            COMP_WORDS=(flock -n -w 5 --fd 8 "$last") COMP_CWORD=6
            _flock flock "$last" 8
            COMP_WORDS=(flock -n lk -c -- "$last") COMP_CWORD=5
            _flock flock "$last" --
        done
        comm -13 <(sort <<<"$before") <(names | sort)"#,
        file.display(),
    );
    let outcome = env.bash(script).assert_stderr("").assert_status(0);
    // Variables that bash and the script set.
    let expected = "before last COMPREPLY COMP_WORDS COMP_CWORD BASH_LINENO FUNCNAME _";
    for name in outcome.stdout_text().lines() {
        let is_expected = expected.split(' ').any(|other| other == name);
        assert!(is_expected || name.starts_with("_flock"), "{name}");
    }
    env.bash(format!(". '{}'; complete -p", file.display()))
        .assert_all(0, "complete -F _flock flock\n", "");
}

#[test]
fn bash_completion_passes_shellcheck() {
    if is_installed("shellcheck") {
        let env = TestEnv::new();
        let mut command = env.command("shellcheck");
        command.arg(absolute(completion_path(&SPEC, Shell::Bash)));
        env.run_command(command).assert_all(0, "", "");
    }
}

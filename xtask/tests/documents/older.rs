//! The completions of the historic tools, which `clap_complete` generates.

use fdlock::cli::ProgramSpec;
use test_support::{TestEnv, is_installed};
use xtask::document::{absolute, completion_path};
use xtask::option_lists::spellings;
use xtask::{PROGRAMS, Shell};

use super::shells::{assert_offered, lists, offers};

fn older_tools() -> &'static [&'static ProgramSpec] {
    &PROGRAMS[1..]
}

#[test]
fn bash_offers_options_and_files_to_older_tools() {
    for spec in older_tools() {
        let name = spec.name;
        let options = (spec.options)();
        let all_spellings = options.iter().flat_map(spellings).collect::<Vec<_>>();
        // An empty reply makes readline complete file names, because of `-o default`.
        let lines = ["-", "l", "lk l"].map(|args| format!("{name} {args}"));
        let lines = lines.each_ref().map(String::as_str);
        let [(_, offered), (_, operand), (_, next)] = offers(Shell::Bash, lines);
        assert_offered(&offered, &all_spellings, true, name);
        assert_eq!([operand, next].concat(), [""; 0], "{name}");

        let file = absolute(completion_path(spec, Shell::Bash));
        let env = TestEnv::new();
        let outcome = env.bash(format!(". '{}'; complete -p", file.display()));
        let completions = outcome.stdout_text();
        assert!(completions.contains(" -o default "), "{completions}");
        let is_for_tool = completions.ends_with(&format!(" {name}\n"));
        assert!(is_for_tool, "{completions}");
        assert_eq!(completions.lines().count(), 1, "{completions}");
        outcome.assert_stderr("").assert_status(0);
    }
}

#[test]
fn bash_offers_files_for_option_of_loto() {
    // Outside of readline, compopt fails.
    let shown = lists(Shell::Bash, ["loto -w -L l"], "compopt() { :; }");
    assert_eq!(shown, ["lk\n"]);
}

#[test]
fn completions_of_older_tools_are_valid_zsh_and_fish() {
    let env = TestEnv::new();
    for shell in [Shell::Zsh, Shell::Fish] {
        for spec in older_tools()
            .iter()
            .filter(|_| is_installed(&shell.to_string()))
        {
            let mut command = env.command(shell.to_string());
            command
                .arg("-n")
                .arg(absolute(completion_path(spec, shell)));
            env.run_command(command).assert_all(0, "", "");
        }
    }
}

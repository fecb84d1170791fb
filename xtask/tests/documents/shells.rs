//! What shells offer when Tab is pressed. Each shell runs with our completion files only, in a test
//! environment with a lock file `lk` (open as descriptor 8), a directory `sub` (open as 9), and a
//! command `jobjob` whose own completion is `red` and `green`.

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use test_support::{TestEnv, is_installed};
use xtask::document::{absolute, completion_path};
use xtask::{PROGRAMS, SHELLS, Shell};

/// Printed after the list for each line.
const SEPARATOR: &str = "+++++\n";

/// Calls the function as readline does, which splits words at an equals sign. The script is a file
/// rather than an argument of `-c`: bash keeps a script file open as descriptor 255, which must not
/// be offered.
const DRIVE_BASH: &str = r#"
set -u
. "$COMPLETION"
for line; do
    COMP_LINE=$line COMP_POINT=${#line}
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    last=${COMP_WORDS[COMP_CWORD]}
    function=$(complete -p "${COMP_WORDS[0]}")
    function=${function##* -F }
    "${function% *}" "${COMP_WORDS[0]}" "${last#=}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}" +++++
done
"#;

/// Runs a shell on a pseudo-terminal. Its output shows when it is ready and when the list is
/// complete.
const DRIVE_ZSH: &str = r#"
zmodload zsh/zpty
zpty shell "exec zsh -f -i"
zpty -w shell "source ./setup.zsh"
zpty -r -m shell shown '*READY1*'
for line; do
    zpty -w -n shell "$line"$'\x14'
    zpty -r -m shell shown '*DONE1*'
    print -r -- "${shown//[[:cntrl:]]/
}"
    print -r -- +++++
done
"#;

const SETUP_ZSH: &str = r#"
stty cols 250 rows 500
PROMPT= LISTMAX=100000
fpath=(${COMPLETION:h} $fpath)
autoload -Uz compinit
compinit -u -D
_job() { compadd red green }
compdef _job jobjob
zle -C listing list-choices _main_complete
show() { zle listing; zle -R; print DONE$((2 - 1)); BUFFER= }
zle -N show
bindkey '^T' show
zle-line-init() { print READY$((2 - 1)) }
zle -N zle-line-init
"#;

const DRIVE_FISH: &str = r#"
set fish_complete_path (dirname $COMPLETION) $fish_complete_path
complete -c jobjob -f -a 'red green'
for line in $argv
    complete -C $line
    echo +++++
end
"#;

/// Returns the shells to test: bash, and the others if they are installed.
pub fn installed_shells() -> impl Iterator<Item = Shell> {
    let is_tested = |shell: &Shell| *shell == Shell::Bash || is_installed(&shell.to_string());
    SHELLS.into_iter().filter(is_tested)
}

/// Asserts that all of these words are offered, or none of them.
#[track_caller]
pub fn assert_offered<S: AsRef<str>>(
    offered: &[String],
    words: &[S],
    expected: bool,
    context: impl Debug,
) {
    for word in words.iter().map(AsRef::as_ref) {
        let is_offered = offered.iter().any(|other| other == word);
        assert_eq!(is_offered, expected, "{word}: {context:?}: {offered:?}");
    }
}

/// Asserts that each shell offers all of these words at the end of each line, or none of them.
#[track_caller]
pub fn assert_all_offer<S: AsRef<str>, const N: usize>(lines: [&str; N], words: &[S], all: bool) {
    for shell in installed_shells() {
        for (line, offered) in offers(shell, lines) {
            assert_offered(&offered, words, all, (shell, line));
        }
    }
}

/// Returns each line with the words that a shell offers at its end, without the slash after
/// directories, and without the `--fd=` or `--also=` that fish repeats before the value. All lines
/// call the same program.
pub fn offers<const N: usize>(shell: Shell, lines: [&str; N]) -> [(&str, Vec<String>); N] {
    // 9: the first Tab, for which bash does not show the help.
    let mut lists = lists(shell, lines, "COMP_TYPE=9").into_iter();
    lines.map(|line| {
        let list = lists.next().expect("a list for each line");
        let rows = list.lines().filter(|row| !row.is_empty());
        let words = rows.flat_map(|row| match shell {
            Shell::Bash => vec![row],
            Shell::Fish => row.split('\t').take(1).collect(),
            // The line itself, as it is typed.
            Shell::Zsh if row.contains(line.trim_end()) || row.contains("DONE1") => vec![],
            // Several spellings, then `--` and the help.
            _ => {
                let (spellings, _) = row.split_once(" -- ").unwrap_or((row, ""));
                spellings.split_whitespace().collect()
            }
        });
        let words = words.map(|word| {
            let value = word
                .trim_start_matches("--fd=")
                .trim_start_matches("--also=");
            value.trim_end_matches('/').to_owned()
        });
        (line, words.collect())
    })
}

/// Returns the list for each line as it is displayed. bash runs `bash_setup` first.
pub fn lists<const N: usize>(shell: Shell, lines: [&str; N], bash_setup: &str) -> Vec<String> {
    let env = TestEnv::new();
    env.sh("touch lk; mkdir sub; ln -s /bin/true bin/jobjob")
        .assert_status(0);
    let script = match shell {
        // 63: a second Tab.
        Shell::Bash => format!("COMP_TYPE=63\n{bash_setup}\n{DRIVE_BASH}"),
        Shell::Zsh => DRIVE_ZSH.to_owned(),
        _ => DRIVE_FISH.to_owned(),
    };
    fs::write(env.file("setup.zsh"), SETUP_ZSH).expect("a file can be created");
    fs::write(env.file("drive"), script).expect("a file can be created");
    let mut command = env.command("/bin/sh");
    command.args(["-c", r#"exec 8>>lk 9<sub "$@""#, "sh", &shell.to_string()]);
    if shell == Shell::Zsh {
        command.arg("-f");
    }
    command
        .arg("./drive")
        .args(lines)
        .env("COMPLETION", completion_for(lines[0], shell))
        .env("TERM", "dumb");
    let outcome = env.run_command(command).assert_stderr("");
    let lists = outcome
        .stdout_text()
        .split_terminator(SEPARATOR)
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(lists.len(), N, "{shell:?}: {lines:?}: {lists:?}");
    lists
}

/// The completion of the program that the line calls.
fn completion_for(line: &str, shell: Shell) -> PathBuf {
    let name = line.split(' ').next();
    let spec = PROGRAMS.iter().find(|spec| Some(spec.name) == name);
    absolute(completion_path(spec.expect("one of our programs"), shell))
}

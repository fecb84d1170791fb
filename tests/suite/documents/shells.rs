//! What a shell offers when Tab is pressed. Each runs with our completion files alone, in a test environment with a lock file `lk`
//! (open as descriptor 8), a folder `sub` (open as 9), a command `jobjob` whose own completion is red and green, and two
//! resources that the administrator has named.

use std::process::Command;

use super::document::{Document, PAGES, completion};
use test_support::{HISTORIC, TestEnv, is_installed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Between the lists for one line and for the next.
const NEXT: &str = "+++++\n";

/// Calls the function as readline does, which takes words apart at an equals sign. It is a file and no `-c`: bash has a
/// file that it executes open as 255, which is not to be offered.
const DRIVE_BASH: &str = r#"
set -u
. "$COMPLETION"
for line; do
    COMP_LINE=$line COMP_POINT=${#line}
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    last=${COMP_WORDS[COMP_CWORD]}
    read -r _ _ complete _ <<<"$(complete -p "${COMP_WORDS[0]}")"
    "$complete" "${COMP_WORDS[0]}" "${last#=}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}" +++++
done
"#;

/// A terminal with a shell at the other end. What it prints tells when it is ready and when it has shown its list.
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

impl Shell {
    pub const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// Those that are there: bash always, the others where they are installed.
    pub fn all() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|shell| *shell == Self::Bash || is_installed(shell.name()))
            .collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// The words that each line's list offers. The lines are all for one program.
    pub fn offers<const N: usize>(
        self,
        lines: [&'static str; N],
    ) -> [(&'static str, Vec<String>); N] {
        // Without what the options do, which bash shows for the second Tab only.
        let mut lists = self.shows(lines, "COMP_TYPE=9").into_iter();
        lines.map(|line| {
            let list = lists.next().expect("a list for each line");
            let rows = list.lines().filter(|row| !row.is_empty());
            let words = rows.flat_map(|row| match self {
                Self::Bash => vec![row],
                Self::Fish => row.split('\t').take(1).collect(),
                // The line itself, where it is typed.
                Self::Zsh if row.contains(line.trim_end()) || row.contains("DONE1") => vec![],
                // Several spellings in a row, and what they do behind a `--`.
                Self::Zsh => row
                    .split(" -- ")
                    .take(1)
                    .flat_map(str::split_whitespace)
                    .collect(),
            });
            (line, words.map(str::to_owned).collect())
        })
    }

    fn completion_of(self, line: &str) -> &'static Document {
        let name = line.split(' ').next();
        let page = PAGES.iter().find(|page| Some(page.name) == name);
        completion(page.expect("a program of ours"), self)
    }

    /// The list for each line as it is shown; for bash after these further lines of set-up.
    pub fn shows<const N: usize>(self, lines: [&str; N], more_bash: &str) -> Vec<String> {
        let env = test_env();
        let drive = match self {
            Self::Bash => format!("COMP_TYPE=63\n{more_bash}\n{DRIVE_BASH}"),
            Self::Zsh => DRIVE_ZSH.to_owned(),
            Self::Fish => DRIVE_FISH.to_owned(),
        };
        std::fs::write(env.file("setup.zsh"), SETUP_ZSH).expect("a file");
        std::fs::write(env.file("drive"), drive).expect("a file");
        let mut command = with_descriptors(&env);
        command.arg(self.name());
        if self == Self::Zsh {
            command.arg("-f");
        }
        command
            .arg("./drive")
            .args(lines)
            .env("COMPLETION", self.completion_of(lines[0]).file())
            .env("LOTO_CONF", env.file("resources"))
            .env("TERM", "dumb");
        let outcome = env.run_command(command).assert_stderr("");
        let lists = outcome
            .stdout_text()
            .split_terminator(NEXT)
            .map(str::to_owned)
            .collect::<Vec<_>>();
        assert_eq!(lists.len(), N, "{self:?}: {lines:?}: {lists:?}");
        lists
    }
}

/// A shell that opens the descriptors and executes the words that are added.
fn with_descriptors(env: &TestEnv) -> Command {
    let mut command = env.command("/bin/sh");
    command.args(["-c", r#"exec 8>>lk 9<sub "$@""#, "sh"]);
    command
}

fn test_env() -> TestEnv {
    let env = TestEnv::new();
    std::fs::write(env.file("lk"), "").expect("lk");
    std::fs::create_dir(env.file("sub")).expect("sub");
    let resources = "# ours\ndisk\n tape /srv/tape.lock\n\n";
    std::fs::write(env.file("resources"), resources).expect("resources");
    // fish completes only what is there.
    for name in HISTORIC {
        std::fs::remove_file(env.file("bin").join(name)).expect("it is in every test environment");
    }
    for name in HISTORIC.into_iter().chain(["jobjob"]) {
        std::os::unix::fs::symlink("/bin/true", env.file("bin").join(name)).expect("bin/");
    }
    env
}

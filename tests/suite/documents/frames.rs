//! The completions of the four older tools, made whole: frames, into which the options are put, and how words are read,
//! which is copied from the completions of `flock`.

use fdlock::cli::{Page, Shown};

use super::blocks::{bash_row, fish_completes, fish_lists, zsh_spec};
use super::document::identifier;
use super::shells::Shell;

const FLOCK_BASH: &str = include_str!("../../../completions/flock.bash");
const FLOCK_FISH: &str = include_str!("../../../completions/flock.fish");

/// Frames for bash, zsh and fish.
type Frames = [&'static str; 3];

/// Options, two dashes, a command.
static LOTO: Frames = [
    include_str!("frames/loto.bash"),
    include_str!("frames/loto.zsh"),
    include_str!("frames/loto.fish"),
];

/// Two files with options around them, and for readers a command.
static ULOCK: Frames = [
    include_str!("frames/ulock.bash"),
    include_str!("frames/ulock.zsh"),
    include_str!("frames/ulock.fish"),
];

/// A file and a command.
static JOB: Frames = [
    include_str!("frames/job.bash"),
    include_str!("frames/job.zsh"),
    include_str!("frames/job.fish"),
];

/// The completion of a page for a shell.
pub fn completion(page: &Page, shell: Shell) -> String {
    let (frames, more_for_the_first_word) = match page.name {
        "loto" => (&LOTO, ""),
        "ulock" => (&ULOCK, ""),
        "runlock" => (&JOB, ""),
        "me-only" => (&JOB, script_here(shell)),
        name => panic!("which frame is for {name}?"),
    };
    let options = (page.options)();
    let made = match shell {
        Shell::Bash => options.iter().map(bash_row).collect(),
        Shell::Zsh => zsh_specs(&options),
        Shell::Fish => fish_completes("@name@", "__@function@", &options),
    };
    let first = "made whole by `make docs`; its frame is in tests/suite/documents";
    copied(frames[shell as usize])
        .replace("@made@", first)
        .replace("@options@\n", &made)
        .replace("@lists@\n", &fish_lists("__@function@", &options))
        .replace("@first word@\n", more_for_the_first_word)
        .replace("@name@", page.name)
        .replace("@function@", &identifier(page))
}

/// A script is looked for in the working directory too, without a slash.
fn script_here(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => "    ((last > first + 1)) || _@function@_files\n",
        Shell::Zsh => "  (( CURRENT == 1 )) && _files && ret=0\n",
        Shell::Fish => "    set -q words[2]; or __fish_complete_path (commandline -ct)\n",
    }
}

/// Those with a value may be given again.
fn zsh_specs(options: &[Shown]) -> String {
    let spec = |option: &Shown| {
        let spec = zsh_spec("_@function@", option);
        match option.value {
            Some(_) => spec.replacen("    ", "    \\*", 1),
            None => spec,
        }
    };
    options.iter().map(spec).collect()
}

/// The frame with functions of `flock`'s completion where it asks for them, by lines such as `@copy _flock_words@`.
fn copied(frame: &str) -> String {
    let line = |line: &str| match line.strip_prefix("@copy ") {
        Some(name) => function(name.trim_end().trim_end_matches('@')),
        None => line.to_owned(),
    };
    frame.split_inclusive('\n').map(line).collect()
}

/// A function with the comments above it.
fn function(name: &str) -> String {
    let (text, begin, end) = match name.strip_prefix("__") {
        Some(_) => (FLOCK_FISH, format!("function {name}"), "end"),
        None => (FLOCK_BASH, format!("{name}() {{"), "}"),
    };
    let lines = text.lines().collect::<Vec<_>>();
    let is_begin = |line: &&str| {
        line.strip_prefix(&begin)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let head = lines.iter().position(is_begin);
    let head = head.unwrap_or_else(|| panic!("no function {name}"));
    let comments = lines[..head].iter().rev();
    let first = head - comments.take_while(|line| line.starts_with('#')).count();
    let length = lines[head..].iter().position(|line| *line == end);
    let last = head + length.expect("its end");
    let text = lines[first..=last].join("\n") + "\n";
    text.replace("_flock_", "_@function@_")
}

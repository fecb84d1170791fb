//! The program's page as `clap` knows it, which draws `--help` and the manual's option list.

use clap::{Arg, ArgAction, Command};
use fdlock::cli::flock::PAGE;
use fdlock::cli::{Form, Shown};

/// The text of `--help`.
pub fn help() -> String {
    command().render_help().to_string()
}

/// The program's page as a `clap` command.
pub fn command() -> Command {
    let page = &PAGE;
    let width = page
        .forms
        .iter()
        .map(|form| form.words.len())
        .max()
        .unwrap_or_default();
    let form = |form: &Form| format!("{} {:width$}  {}", page.name, form.words, form.help);
    let usage = page
        .forms
        .iter()
        .map(form)
        .collect::<Vec<_>>()
        .join("\n       ");
    Command::new(page.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(page.about)
        .override_usage(usage)
        .after_help(page.closing)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args((page.options)().iter().map(argument))
}

fn argument(option: &Shown) -> Arg {
    let mut arg = Arg::new(option.long[0])
        .long(option.long[0])
        .help(option.help);
    arg = arg.visible_aliases(&option.long[1..]);
    let mut letters = option.short.chars();
    if let Some(letter) = letters.next() {
        arg = arg
            .short(letter)
            .visible_short_aliases(letters.collect::<Vec<_>>());
    }
    if !option.manual.is_empty() {
        arg = arg.long_help(format!("{}. {}", sentence(option.help), option.manual));
    }
    match option.value {
        Some(name) => arg.value_name(name),
        None => arg.action(ArgAction::SetTrue),
    }
}

fn sentence(line: &str) -> String {
    let mut letters = line.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

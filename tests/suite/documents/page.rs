//! A program's page as `clap` knows it, which draws `--help` and the manual's option list.

use clap::{Arg, ArgAction, Command};
use fdlock::cli::{OptionDoc, ProgramSpec, Synopsis};

/// The text of `--help`.
pub fn help(page: &ProgramSpec) -> String {
    command(page).render_help().to_string()
}

/// The program's page as a `clap` command.
pub fn command(page: &ProgramSpec) -> Command {
    let width = page
        .synopses
        .iter()
        .map(|form| form.args.len())
        .max()
        .unwrap_or_default();
    let form = |form: &Synopsis| format!("{} {:width$}  {}", page.name, form.args, form.help);
    let usage = page
        .synopses
        .iter()
        .map(form)
        .collect::<Vec<_>>()
        .join("\n       ");
    Command::new(page.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(page.about)
        .override_usage(usage)
        .after_help(page.after_help)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args((page.options)().iter().map(argument))
}

/// What `clap` knows the option by.
pub fn id(option: &OptionDoc) -> &'static str {
    option.long.first().copied().unwrap_or(option.short)
}

fn argument(option: &OptionDoc) -> Arg {
    let mut arg = Arg::new(id(option))
        .help(option.help)
        .help_heading(option.group);
    if let Some((name, others)) = option.long.split_first() {
        arg = arg.long(*name).visible_aliases(others);
    }
    let mut letters = option.short.chars();
    if let Some(letter) = letters.next() {
        arg = arg
            .short(letter)
            .visible_short_aliases(letters.collect::<Vec<_>>());
    }
    let summary = format!("{}.", sentence(option.help));
    arg = arg.long_help(match option.manual {
        "" => summary,
        manual => format!("{summary} {manual}"),
    });
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

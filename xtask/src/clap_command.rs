//! A program as a `clap` command, which renders `--help`, the manual's option list and completions.

use clap::{Arg, ArgAction, Command};
use fdlock::cli::{OptionDoc, ProgramSpec};

/// Renders the text of `--help`.
pub fn help(spec: &ProgramSpec) -> String {
    command(spec).render_help().to_string()
}

/// Describes the program to `clap`.
pub fn command(spec: &ProgramSpec) -> Command {
    let synopses = spec.synopses.iter();
    let width = synopses.clone().map(|synopsis| synopsis.args.len());
    let width = width.max().expect("a synopsis");
    let usage = synopses
        .map(|synopsis| {
            let (args, help) = (synopsis.args, synopsis.help);
            format!("{} {args:width$}  {help}", spec.name)
        })
        .collect::<Vec<_>>()
        .join("\n       ");
    Command::new(spec.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(spec.about)
        .override_usage(usage)
        .after_help(spec.after_help)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args((spec.options)().iter().map(argument))
}

/// Returns the identifier of the option in the `clap` command.
pub fn id(option: &OptionDoc) -> &'static str {
    let long = option.long.first().copied();
    // clap takes only texts that live as long as the program.
    long.unwrap_or_else(|| option.short.to_string().leak())
}

fn argument(option: &OptionDoc) -> Arg {
    let mut arg = Arg::new(id(option))
        .help(option.help)
        .help_heading(option.group);
    if let Some((name, aliases)) = option.long.split_first() {
        arg = arg.long(*name).visible_aliases(aliases);
    }
    let mut letters = option.short.chars();
    if let Some(letter) = letters.next() {
        arg = arg
            .short(letter)
            .visible_short_aliases(letters.collect::<Vec<_>>());
    }
    let (first, rest) = option.help.split_at(1);
    let summary = format!("{}{rest}.", first.to_uppercase());
    arg = arg.long_help(match option.manual {
        "" => summary,
        manual => format!("{summary} {manual}"),
    });
    match (option.value, option.optional_value) {
        (Some(name), _) => arg.value_name(name),
        (None, Some(name)) => arg.value_name(name).num_args(0..=1).require_equals(true),
        (None, None) => arg.action(ArgAction::SetTrue),
    }
}

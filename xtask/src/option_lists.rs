//! Option lists: of the manuals, and of the completions of `flock`.

use clap_complete::Shell;
use fdlock::cli::{OptPosition, OptionDoc, ProgramSpec};
use fdlock::flock::args::SPEC;

use crate::clap_command;

/// Returns all spellings of an option, short ones first.
pub fn spellings(option: &OptionDoc) -> Vec<String> {
    let short = option.short.chars().map(|letter| format!("-{letter}"));
    let long = option.long.iter().map(|name| format!("--{name}"));
    short.chain(long).collect()
}

/// Generates the option list of a manual.
///
/// It is rendered by `clap_mangen`, which omits aliases, puts `<>` around values, and makes each
/// group a section: aliases are added, `<>` removed, and sections become subsections. A single
/// group needs no heading.
pub fn manual(spec: &ProgramSpec) -> String {
    let mut command = clap_command::command(spec);
    let options = (spec.options)();
    for option in &options {
        let short = option
            .short
            .chars()
            .skip(1)
            .map(|letter| format!("-{letter}"));
        let long = option.long.iter().skip(1).map(|name| format!("--{name}"));
        let aliases = short.chain(long).collect::<Vec<_>>();
        if !aliases.is_empty() {
            command = command.mut_arg(clap_command::id(option), |arg| {
                let help = arg.get_long_help().expect("every option has one");
                let help = format!("{help} Also written {}.", aliases.join(", "));
                arg.long_help(help)
            });
        }
    }
    let mut manual = Vec::new();
    clap_mangen::Man::new(command)
        .render_options_section(&mut manual)
        .expect("writing to memory succeeds");
    let manual = String::from_utf8(manual).expect("clap_mangen writes UTF-8");
    let list = &manual[manual.find(".SH ").expect("a heading")..];

    let groups = options.iter().map(|option| option.group);
    let has_one_group = groups.clone().all(|group| group == options[0].group);
    let subsection = |line: &str| match line.strip_prefix(".SH ") {
        None => line.to_owned(),
        Some(_) if has_one_group => String::new(),
        Some(title) => {
            let title = title.trim_end().trim_matches('"');
            let group = groups.clone().find(|group| group.to_uppercase() == title);
            format!(".SS {}\n", group.expect("every section is a group"))
        }
    };
    let list: String = list.split_inclusive('\n').map(subsection).collect();
    list.replace(r"\fI<", r"\fI")
        .replace(r">\fR", r"\fR")
        .replace(r"\*(Aq", r"\(aq")
}

/// Generates the functions with the options that the completion of `flock` for a shell contains.
pub fn flock_completion(shell: Shell) -> String {
    let (options, after_file): (Vec<_>, Vec<_>) = (SPEC.options)()
        .into_iter()
        .partition(|option| option.position == OptPosition::BeforeOperands);
    match shell {
        Shell::Bash => bash(&options, &after_file),
        Shell::Zsh => zsh(&options, &after_file),
        Shell::Fish => fish(&options, &after_file),
        _ => panic!("{shell}: no completions"),
    }
}

/// Two arrays, with a row per option.
fn bash(options: &[OptionDoc], after_file: &[OptionDoc]) -> String {
    let rows = |options: &[OptionDoc]| options.iter().map(bash_row).collect::<String>();
    format!(
        "_flock_options() {{\n    \
             # shellcheck disable=SC2016 # the help is not to be expanded\n    \
             options=(\n{}    )\n    \
             # shellcheck disable=SC2016\n    \
             after_file=(\n{}    )\n\
         }}\n",
        rows(options),
        rows(after_file)
    )
}

/// Spellings, the name of the value, help.
fn bash_row(option: &OptionDoc) -> String {
    assert!(!option.help.contains('|'), "`|` separates the columns");
    let names = spellings(option).join(" ");
    let value = option.value.unwrap_or_default();
    let row = format!("{names}|{value}|{}", option.help);
    format!("        {}\n", quoted(&row))
}

/// Two arrays: for `_arguments`, and for `_describe`.
fn zsh(options: &[OptionDoc], after_file: &[OptionDoc]) -> String {
    let rows = after_file.iter().flat_map(|option| {
        let help = zsh_escaped(option.help, &[':']);
        let row = move |name| format!("    {}\n", quoted(&format!("{name}:{help}")));
        spellings(option).into_iter().map(row)
    });
    format!(
        "_flock_options() {{\n  specs=(\n{}  )\n  after_file=(\n{}  )\n}}\n",
        options.iter().map(zsh_spec).collect::<String>(),
        rows.collect::<String>()
    )
}

/// A specification for `_arguments`. `_flock_value` completes the value.
fn zsh_spec(option: &OptionDoc) -> String {
    let names = spellings(option);
    let help = format!("[{}]", zsh_escaped(option.help, &['[', ']', ':']));
    let value = option.value.map_or(String::new(), |name| {
        format!(":{name}: _flock_value {name}")
    });
    let heads = names.iter().map(|name| match option.value {
        None => name.clone(),
        Some(_) if name.starts_with("--") => format!("{name}="),
        Some(_) => format!("{name}+"),
    });
    let heads = match names.len() {
        // An option with a file can be repeated.
        1 if option.value == Some("FILE") => format!("'*'{}", heads.collect::<String>()),
        1 => heads.collect(),
        _ => {
            let heads = heads.collect::<Vec<_>>().join(",");
            format!("'({})'{{{heads}}}", names.join(" "))
        }
    };
    format!("    {heads}{}\n", quoted(&format!("{help}{value}")))
}

fn zsh_escaped(text: &str, special: &[char]) -> String {
    text.chars().fold(String::new(), |mut text, letter| {
        if letter == '\\' || special.contains(&letter) {
            text.push('\\');
        }
        text.push(letter);
        text
    })
}

/// Quotes a word for bash and zsh.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A `complete` for each option, two functions that list the options, and one that lists those that
/// can follow the file. `__flock_value` completes values.
fn fish(options: &[OptionDoc], after_file: &[OptionDoc]) -> String {
    let complete = |option: &OptionDoc| {
        let letters = option.short.chars().map(|letter| format!(" -s {letter}"));
        let names = option.long.iter().map(|name| format!(" -l {name}"));
        let value = option.value.map_or(String::new(), |name| {
            format!(" -x -a '(__flock_value {name})'")
        });
        format!(
            "complete -c flock -n '__flock_at option'{}{value} -d {}\n",
            letters.chain(names).collect::<String>(),
            fish_quoted(option.help)
        )
    };
    let rows = after_file.iter().flat_map(|option| {
        let help = fish_quoted(option.help);
        let row = move |name: String| format!("    printf '%s\\t%s\\n' {name} {help}\n");
        spellings(option).into_iter().map(row)
    });
    let with_value = options.iter().filter(|option| option.value.is_some());
    let list = |spellings: Vec<String>| fish_quoted(&spellings.join(" "));
    format!(
        "{}function __flock_options\n    string split ' ' -- {}\nend\n\
         function __flock_options_with_value\n    string split ' ' -- {}\nend\n\
         function __flock_after_file\n{}end\n",
        options.iter().map(complete).collect::<String>(),
        list(options.iter().flat_map(spellings).collect()),
        list(with_value.flat_map(spellings).collect()),
        rows.collect::<String>()
    )
}

fn fish_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', r"\\").replace('\'', r"\'"))
}

//! Option lists, made from the table of options: of the manual, and of the completions.

use fdlock::cli::{OptPosition, OptionDoc, ProgramSpec};

use super::page;
use super::shells::Shell;

/// Every way to write an option, letters first.
pub fn spellings(option: &OptionDoc) -> Vec<String> {
    let letters = option.short.chars().map(|letter| format!("-{letter}"));
    let names = option.long.iter().map(|name| format!("--{name}"));
    letters.chain(names).collect()
}

/// Whether it stands behind the lock file.
pub fn is_behind(option: &OptionDoc) -> bool {
    option.position == OptPosition::AfterFile
}

/// The option list by `clap_mangen`, which does not list aliases, puts `<>` around values, and makes a section of each
/// group. A single group needs no heading.
pub fn manual(page: &ProgramSpec) -> String {
    let mut command = page::command(page);
    let options = (page.options)();
    for option in &options {
        let shown = [
            option
                .short
                .chars()
                .next()
                .map(|letter| format!("-{letter}")),
            option.long.first().map(|name| format!("--{name}")),
        ];
        let mut names = spellings(option);
        names.retain(|name| !shown.contains(&Some(name.clone())));
        if !names.is_empty() {
            command = command.mut_arg(page::id(option), |arg| {
                let help = arg.get_long_help().expect("help").to_string();
                arg.long_help(format!("{help} Also written {}.", names.join(", ")))
            });
        }
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render_options_section(&mut page)
        .expect("into memory");
    let page = String::from_utf8(page).expect("UTF-8");
    let list = &page[page.find(".SH ").expect("a heading")..];
    let is_single = options
        .iter()
        .all(|option| option.group == options[0].group);
    let subsection = |line: &str| match line.strip_prefix(".SH ") {
        None => line.to_owned(),
        Some(_) if is_single => String::new(),
        Some(title) => {
            let title = title.trim_end().trim_matches('"');
            let option = options
                .iter()
                .find(|option| option.group.to_uppercase() == title);
            format!(".SS {}\n", option.expect("an option of the group").group)
        }
    };
    let list: String = list.split_inclusive('\n').map(subsection).collect();
    list.replace(r"\fI<", r"\fI")
        .replace(r">\fR", r"\fR")
        .replace(r"\*(Aq", r"\(aq")
}

/// The list in the completion of `flock`, whose options stand in two places.
pub fn options(page: &ProgramSpec, shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(page),
        Shell::Zsh => zsh(page),
        Shell::Fish => fish(page),
    }
}

fn both_places(page: &ProgramSpec) -> (Vec<OptionDoc>, Vec<OptionDoc>) {
    (page.options)()
        .into_iter()
        .partition(|option| !is_behind(option))
}

/// `'it'\''s'`: a word for bash and zsh.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Two arrays of rows.
fn bash(page: &ProgramSpec) -> String {
    let (first, behind) = both_places(page);
    let rows = |options: &[OptionDoc]| options.iter().map(bash_row).collect::<String>();
    format!(
        "_flock_options() {{\n    \
             # shellcheck disable=SC2016 # the help is not to be expanded\n    \
             options=(\n{}    )\n    \
             # shellcheck disable=SC2016\n    \
             after_file=(\n{}    )\n\
         }}\n",
        rows(&first),
        rows(&behind)
    )
}

/// Spellings, the name of the value, help.
pub fn bash_row(option: &OptionDoc) -> String {
    assert!(!option.help.contains('|'), "it parts the columns");
    let names = spellings(option).join(" ");
    let value = option.value.unwrap_or_default();
    let row = format!("{names}|{value}|{}", option.help);
    format!("        {}\n", quoted(&row))
}

/// Two arrays: for `_arguments`, and for `_describe`.
fn zsh(page: &ProgramSpec) -> String {
    let (first, behind) = both_places(page);
    let specs = first.iter().map(|option| zsh_spec("_flock", option));
    let words = behind.iter().flat_map(|option| {
        let help = zsh_escaped(option.help, &[':']);
        let row = move |name| format!("    {}\n", quoted(&format!("{name}:{help}")));
        spellings(option).into_iter().map(row)
    });
    format!(
        "_flock_options() {{\n  specs=(\n{}  )\n  after_file=(\n{}  )\n}}\n",
        specs.collect::<String>(),
        words.collect::<String>()
    )
}

/// For `_arguments`; what a value can be is told by a function `NAME_value`.
pub fn zsh_spec(function: &str, option: &OptionDoc) -> String {
    let names = spellings(option);
    let help = format!("[{}]", zsh_escaped(option.help, &['[', ']', ':']));
    let value = option.value.map_or(String::new(), |name| {
        format!(":{name}: {function}_value {name}")
    });
    let heads = names.iter().map(|name| match option.value {
        None => name.clone(),
        Some(_) if name.starts_with("--") => format!("{name}="),
        Some(_) => format!("{name}+"),
    });
    let heads = match names.len() {
        // Of files there may be several.
        1 if option.value == Some("FILE") && names[0].starts_with("--") => {
            format!("'*'{}", heads.collect::<String>())
        }
        1 => heads.collect(),
        _ => format!(
            "'({})'{{{}}}",
            names.join(" "),
            heads.collect::<Vec<_>>().join(",")
        ),
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

/// Those, and a function for what stands behind the file.
fn fish(page: &ProgramSpec) -> String {
    let (first, behind) = both_places(page);
    let words = behind.iter().flat_map(|option| {
        let help = fish_quoted(option.help);
        let row = move |name: String| format!("    printf '%s\\t%s\\n' {name} {help}\n");
        spellings(option).into_iter().map(row)
    });
    format!(
        "{}{}function __flock_after_file\n{}end\n",
        fish_completes("flock", "__flock", &first),
        fish_lists("__flock", &first),
        words.collect::<String>()
    )
}

/// A `complete` for each option; what a value can be is told by a function `NAME_value`.
pub fn fish_completes(name: &str, function: &str, options: &[OptionDoc]) -> String {
    let complete = |option: &OptionDoc| {
        let letters = option.short.chars().map(|letter| format!(" -s {letter}"));
        let names = option.long.iter().map(|name| format!(" -l {name}"));
        let value = option.value.map_or(String::new(), |name| {
            format!(" -x -a '({function}_value {name})'")
        });
        format!(
            "complete -c {name} -n '{function}_at option'{}{value} -d {}\n",
            letters.chain(names).collect::<String>(),
            fish_quoted(option.help)
        )
    };
    options.iter().map(complete).collect()
}

/// Two functions that tell how to read options.
pub fn fish_lists(function: &str, options: &[OptionDoc]) -> String {
    let valued = options.iter().filter(|option| option.value.is_some());
    let list = |spellings: Vec<String>| fish_quoted(&spellings.join(" "));
    format!(
        "function {function}_options\n    string split ' ' -- {}\nend\n\
         function {function}_options_with_value\n    string split ' ' -- {}\nend\n",
        list(options.iter().flat_map(spellings).collect()),
        list(valued.flat_map(spellings).collect()),
    )
}

fn fish_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', r"\\").replace('\'', r"\'"))
}

//! The scanner: options among the first operands, as getopt_long(3) reads them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use lexopt::{Arg, Parser};

use super::{Effect, Length, Opt, Usage};

/// What stands on a command line besides options.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned {
    /// `--help` came before anything that is wrong.
    Help,
    /// `--version` came before anything that is wrong.
    Version,
    /// The operands, and everything after the last one before which options may stand, untouched.
    Operands(Vec<OsString>),
}

/// Reads the options of the table into the draft. They may stand anywhere before the operand of this number (1 for the
/// first), which is where the words of a command begin that has options of its own.
pub fn scan<D>(
    table: &'static [Opt<D>],
    words: Vec<OsString>,
    before: usize,
    draft: &mut D,
) -> Result<Scanned, Usage> {
    // Tokens are text. What is none is kept for messages; mostly there is nothing to keep.
    let odd = words
        .iter()
        .filter(|word| word.to_str().is_none())
        .cloned()
        .collect::<Vec<_>>();
    let mut parser = Parser::from_args(words);
    let mut operands = Vec::new();
    loop {
        let (option, spelling) = match parser.next() {
            Ok(None) => return Ok(Scanned::Operands(operands)),
            Ok(Some(Arg::Value(operand))) => {
                operands.push(operand);
                if operands.len() == before {
                    operands.extend(parser.raw_args().into_iter().flatten());
                    return Ok(Scanned::Operands(operands));
                }
                continue;
            }
            Ok(Some(Arg::Short(letter))) => {
                let option =
                    by_letter(table, letter).ok_or_else(|| unknown_letter(&odd, letter))?;
                (option, Spelling::Short(letter))
            }
            Ok(Some(Arg::Long(name))) => {
                let Some((option, long)) = by_name(table, name)? else {
                    let name = name.to_owned();
                    return Err(unknown_name(&odd, &name, parser.optional_value()));
                };
                (option, Spelling::Long(long))
            }
            // The one thing that is left: a value behind a letter that takes none.
            Err(_) => return Err(unknown_letter(&odd, '=')),
        };
        if let (Effect::Flag(_) | Effect::Help | Effect::Version, Spelling::Long(name)) =
            (&option.effect, &spelling)
            && parser.optional_value().is_some()
        {
            return Err(Usage::new(format!(
                "option '--{name}' doesn't allow an argument"
            )));
        }
        match option.effect {
            Effect::Flag(set) => set(draft),
            Effect::Value(_, set) => {
                let value = parser.value().map_err(|_| {
                    Usage::new(match spelling {
                        Spelling::Short(letter) => {
                            format!("option requires an argument -- '{letter}'")
                        }
                        Spelling::Long(name) => format!("option '--{name}' requires an argument"),
                    })
                })?;
                set(draft, &value)?;
            }
            Effect::BehindFile(_, place) => {
                return Err(Usage::new(match spelling {
                    Spelling::Short(letter) => format!("invalid option -- '{letter}' ({place})"),
                    Spelling::Long(name) => format!("unrecognized option '--{name}' ({place})"),
                }));
            }
            Effect::Help => return Ok(Scanned::Help),
            Effect::Version => return Ok(Scanned::Version),
        }
    }
}

/// How an option was written, for messages.
#[derive(Clone, Copy)]
enum Spelling {
    Short(char),
    /// The whole name, of which perhaps only the beginning was written.
    Long(&'static str),
}

fn by_letter<D>(table: &'static [Opt<D>], letter: char) -> Option<&'static Opt<D>> {
    table.iter().find(|option| option.short.contains(letter))
}

/// An option and that of its names which was written, or whose beginning was, if no other option has one that begins
/// so: names of the same option do not compete.
type Named<D> = (&'static Opt<D>, &'static str);

fn by_name<D>(table: &'static [Opt<D>], name: &str) -> Result<Option<Named<D>>, Usage> {
    let names = || {
        table
            .iter()
            .flat_map(|option| option.long.iter().map(move |long| (option, *long)))
    };
    if let Some(whole) = names().find(|(_, long)| *long == name) {
        return Ok(Some(whole));
    }
    let begins = |(option, long): &Named<D>| {
        long.starts_with(name)
            && option.length == Length::Short
            && !matches!(option.effect, Effect::BehindFile(..))
    };
    let candidates = || names().filter(begins);
    let first = candidates().next();
    if first.is_some_and(|(first, _)| candidates().any(|(other, _)| !std::ptr::eq(first, other))) {
        let possible = candidates()
            .map(|(_, long)| format!(" '--{long}'"))
            .collect::<String>();
        return Err(Usage::new(format!(
            "option '--{name}' is ambiguous; possibilities:{possible}"
        )));
    }
    Ok(first)
}

/// Says a byte that is no text as it was written.
fn unknown_letter(odd: &[OsString], letter: char) -> Usage {
    let first_odd = |word: &OsString| match str::from_utf8(word.as_bytes()) {
        Err(error) if word.as_bytes().starts_with(b"-") => {
            Some(word.as_bytes()[error.valid_up_to()])
        }
        _ => None,
    };
    let written = match odd.iter().find_map(first_odd) {
        Some(byte) if letter == char::REPLACEMENT_CHARACTER => vec![byte],
        _ => letter.to_string().into_bytes(),
    };
    let mut message = OsString::from("invalid option -- '");
    message.push(OsStr::from_bytes(&written));
    message.push("'");
    Usage::new(message)
}

/// The whole word, with its value, as it was written.
fn unknown_name(odd: &[OsString], name: &str, value: Option<OsString>) -> Usage {
    let mut word = OsString::from(format!("--{name}"));
    if let Some(value) = value {
        word.push("=");
        word.push(value);
    }
    let is_it = |odd: &&OsString| odd.to_string_lossy() == word.to_string_lossy();
    let mut message = OsString::from("unrecognized option '");
    message.push(odd.iter().find(is_it).unwrap_or(&word));
    message.push("'");
    Usage::new(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was set, in order.
    type Seen = Vec<String>;

    static TABLE: &[Opt<Seen>] = &[
        Opt {
            short: "ab",
            long: &["alpha"],
            length: Length::Short,
            effect: Effect::Flag(|seen| seen.push("alpha".into())),
            group: "",
            help: "",
            manual: "",
        },
        Opt {
            short: "v",
            long: &["value", "val"],
            length: Length::Short,
            effect: Effect::Value("V", |seen, word| {
                seen.push(word.to_string_lossy().into_owned());
                Ok(())
            }),
            group: "",
            help: "",
            manual: "",
        },
        Opt {
            short: "",
            long: &["version"],
            length: Length::Short,
            effect: Effect::Version,
            group: "",
            help: "",
            manual: "",
        },
        Opt {
            short: "h",
            long: &["help"],
            length: Length::Short,
            effect: Effect::Help,
            group: "",
            help: "",
            manual: "",
        },
        Opt {
            short: "c",
            long: &["command"],
            length: Length::Short,
            effect: Effect::BehindFile("C", "behind FILE"),
            group: "",
            help: "",
            manual: "",
        },
    ];

    fn read(line: &str) -> (Result<Scanned, String>, Seen) {
        read_before(1, line)
    }

    fn read_before(operand: usize, line: &str) -> (Result<Scanned, String>, Seen) {
        let mut seen = Seen::new();
        let words = line.split_whitespace().map(OsString::from).collect();
        let scanned = scan(TABLE, words, operand, &mut seen)
            .map_err(|usage| usage.message().to_string_lossy().into_owned());
        (scanned, seen)
    }

    fn operands(words: &[&str]) -> Result<Scanned, String> {
        Ok(Scanned::Operands(
            words.iter().map(OsString::from).collect(),
        ))
    }

    #[test]
    fn a_value_may_be_attached_or_the_next_word_whatever_it_looks_like() {
        for line in [
            "-v-5 x",
            "-v -5 x",
            "--value=-5 x",
            "--value -5 x",
            "--val=-5 x",
            "--valu -5 x",
        ] {
            assert_eq!(read(line), (operands(&["x"]), vec!["-5".into()]), "{line}");
        }
    }

    #[test]
    fn letters_may_be_run_together() {
        assert_eq!(
            read("-abv5 x"),
            (
                operands(&["x"]),
                vec!["alpha".into(), "alpha".into(), "5".into()]
            )
        );
    }

    #[test]
    fn options_end_at_the_first_operand_or_at_two_dashes() {
        assert_eq!(read("x -a"), (operands(&["x", "-a"]), vec![]));
        assert_eq!(
            read("-a -- -a --"),
            (operands(&["-a", "--"]), vec!["alpha".into()])
        );
        assert_eq!(read("x -- y"), (operands(&["x", "--", "y"]), vec![]));
        assert_eq!(read("- -a"), (operands(&["-", "-a"]), vec![]));
    }

    #[test]
    fn options_may_stand_among_the_operands_that_come_before_a_command() {
        let alpha = || vec!["alpha".to_owned()];
        assert_eq!(
            read_before(2, "x -a y -a"),
            (operands(&["x", "y", "-a"]), alpha())
        );
        assert_eq!(read_before(3, "x y -a"), (operands(&["x", "y"]), alpha()));
        assert_eq!(
            read_before(3, "x -- -a y -a"),
            (operands(&["x", "-a", "y", "-a"]), vec![])
        );
    }

    #[test]
    fn a_beginning_that_only_one_option_has_is_enough() {
        assert_eq!(read("--al x"), (operands(&["x"]), vec!["alpha".into()]));
        let ambiguous = "option '--v' is ambiguous; possibilities: '--value' '--val' '--version'";
        assert_eq!(read("--v x").0, Err(ambiguous.into()));
        assert_eq!(read("--co x").0, Err("unrecognized option '--co'".into()));
    }

    #[test]
    fn what_is_wrong_is_said_as_getopt_says_it() {
        for (line, message) in [
            ("-z x", "invalid option -- 'z'"),
            ("--zeta x", "unrecognized option '--zeta'"),
            ("--alpha=1 x", "option '--alpha' doesn't allow an argument"),
            ("--he=1", "option '--help' doesn't allow an argument"),
            ("-v", "option requires an argument -- 'v'"),
            ("--value", "option '--value' requires an argument"),
            ("--val", "option '--val' requires an argument"),
            ("-a=1", "invalid option -- '='"),
            ("--zeta=1", "unrecognized option '--zeta=1'"),
            ("-c x", "invalid option -- 'c' (behind FILE)"),
        ] {
            assert_eq!(read(line).0, Err(message.into()), "{line}");
        }
    }

    #[test]
    fn help_and_version_count_where_they_stand() {
        assert_eq!(read("--help --zeta").0, Ok(Scanned::Help));
        assert_eq!(read("--version").0, Ok(Scanned::Version));
        assert!(read("--zeta --help").0.is_err());
    }
}

//! The scanner: options up to the first operand, as getopt_long(3) reads them with a leading `+`.

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use super::{Effect, Opt, Usage};

/// What stands on a command line besides options.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// `--help` came before anything that is wrong.
    Help,
    /// `--version` came before anything that is wrong.
    Version,
    /// The first operand and everything after it, untouched.
    Operands(Vec<OsString>),
}

/// Reads the options of the table into the draft.
pub(super) fn scan<D>(
    table: &'static [Opt<D>],
    words: Vec<OsString>,
    draft: &mut D,
) -> Result<Scanned, Usage> {
    let mut parser = Parser::from_args(words);
    loop {
        let (option, spelling) = match parser.next() {
            Ok(None) => return Ok(Scanned::Operands(Vec::new())),
            Ok(Some(Arg::Value(first))) => {
                let rest = parser.raw_args().into_iter().flatten();
                return Ok(Scanned::Operands(
                    std::iter::once(first).chain(rest).collect(),
                ));
            }
            Ok(Some(Arg::Short(letter))) => (by_letter(table, letter)?, Spelling::Short(letter)),
            Ok(Some(Arg::Long(name))) => (by_name(table, name)?, Spelling::Long),
            Err(_) => {
                return Err(Usage::new(
                    "options take their values as --option=value or --option value",
                ));
            }
        };
        match option.effect {
            Effect::Flag(set) => {
                set(draft);
                if spelling == Spelling::Long && parser.optional_value().is_some() {
                    return Err(Usage::new(format!(
                        "option '--{}' doesn't allow an argument",
                        option.long[0]
                    )));
                }
            }
            Effect::Value(_, set) => {
                let value = parser.value().map_err(|_| {
                    Usage::new(match spelling {
                        Spelling::Short(letter) => {
                            format!("option requires an argument -- '{letter}'")
                        }
                        Spelling::Long => {
                            format!("option '--{}' requires an argument", option.long[0])
                        }
                    })
                })?;
                set(draft, &value)?;
            }
            Effect::Elsewhere(_, place) => {
                return Err(Usage::new(match spelling {
                    Spelling::Short(letter) => format!("invalid option -- '{letter}' ({place})"),
                    Spelling::Long => {
                        format!("unrecognized option '--{}' ({place})", option.long[0])
                    }
                }));
            }
            Effect::Help => return Ok(Scanned::Help),
            Effect::Version => return Ok(Scanned::Version),
        }
    }
}

/// How an option was written, for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Short(char),
    Long,
}

fn by_letter<D>(table: &'static [Opt<D>], letter: char) -> Result<&'static Opt<D>, Usage> {
    let known = table.iter().find(|option| option.short.contains(letter));
    known.ok_or_else(|| Usage::new(format!("invalid option -- '{letter}'")))
}

/// A whole name, or the beginning of one that no other option has: names of the same option do not compete.
fn by_name<D>(table: &'static [Opt<D>], name: &str) -> Result<&'static Opt<D>, Usage> {
    if let Some(option) = table.iter().find(|option| option.long.contains(&name)) {
        return Ok(option);
    }
    let candidates = table
        .iter()
        .filter(|option| !matches!(option.effect, Effect::Elsewhere(..)))
        .flat_map(|option| {
            option
                .long
                .iter()
                .filter(|long| long.starts_with(name))
                .map(move |long| (option, *long))
        })
        .collect::<Vec<_>>();
    match candidates.as_slice() {
        [] => Err(Usage::new(format!("unrecognized option '--{name}'"))),
        [(only, _), others @ ..] if others.iter().all(|(other, _)| std::ptr::eq(*other, *only)) => {
            Ok(only)
        }
        _ => {
            let mut message =
                OsString::from(format!("option '--{name}' is ambiguous; possibilities:"));
            for (_, long) in candidates {
                message.push(OsStr::new(" '--"));
                message.push(long);
                message.push("'");
            }
            Err(Usage::new(message))
        }
    }
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
            effect: Effect::Flag(|seen| seen.push("alpha".into())),
            help: "",
            manual: "",
        },
        Opt {
            short: "v",
            long: &["value", "val"],
            effect: Effect::Value("V", |seen, word| {
                seen.push(word.to_string_lossy().into_owned());
                Ok(())
            }),
            help: "",
            manual: "",
        },
        Opt {
            short: "",
            long: &["version"],
            effect: Effect::Version,
            help: "",
            manual: "",
        },
        Opt {
            short: "h",
            long: &["help"],
            effect: Effect::Help,
            help: "",
            manual: "",
        },
        Opt {
            short: "c",
            long: &["command"],
            effect: Effect::Elsewhere("C", "behind FILE"),
            help: "",
            manual: "",
        },
    ];

    fn read(line: &str) -> (Result<Scanned, String>, Seen) {
        let mut seen = Seen::new();
        let words = line
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(OsString::from)
            .collect();
        let scanned = scan(TABLE, words, &mut seen)
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
            ("-v", "option requires an argument -- 'v'"),
            ("--value", "option '--value' requires an argument"),
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

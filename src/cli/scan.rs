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

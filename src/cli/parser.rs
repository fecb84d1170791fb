//! Scans the options among the operands, as getopt_long(3) does.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use lexopt::{Arg, Parser};

use super::{Abbrev, Action, OptionSpec, UsageError};

/// What a command line contains besides options.
#[derive(Debug, PartialEq, Eq)]
pub enum ScanResult {
    /// `--help` came before any error.
    Help,
    /// `--version` came before any error.
    Version,
    /// The operands, and everything after the last one before which options are recognized.
    Operands(Vec<OsString>),
}

/// Scans the options of the table into `raw`. Options are recognized before each of the first
/// `max_operands` operands; the last of these is where a command with options of its own begins.
///
/// # Errors
///
/// An option is unknown, ambiguous, or lacks a value.
pub fn scan<D>(
    table: &'static [OptionSpec<D>],
    args: Vec<OsString>,
    max_operands: usize,
    raw: &mut D,
) -> Result<ScanResult, UsageError> {
    // lexopt yields lossy text; keep non-UTF-8 arguments verbatim for error messages.
    let non_utf8 = args
        .iter()
        .filter(|arg| arg.to_str().is_none())
        .cloned()
        .collect::<Vec<_>>();
    let mut parser = Parser::from_args(args);
    let mut operands = Vec::new();
    loop {
        let is_whole_arg = parser.try_raw_args().is_some();
        let (option, spelling) = match parser.next() {
            Ok(None) => return Ok(ScanResult::Operands(operands)),
            Ok(Some(Arg::Value(operand))) => {
                operands.push(operand);
                if operands.len() == max_operands {
                    operands.extend(parser.raw_args().into_iter().flatten());
                    return Ok(ScanResult::Operands(operands));
                }
                continue;
            }
            Ok(Some(Arg::Short(letter))) => {
                let option = table.iter().find(|option| option.short.contains(letter));
                let option = option.ok_or_else(|| unknown_letter(&non_utf8, letter))?;
                (option, Spelling::Short(letter))
            }
            Ok(Some(Arg::Long(name))) => {
                let Some((option, long)) = find_by_name(table, name)? else {
                    let name = name.to_owned();
                    return Err(unknown_name(&non_utf8, &name, parser.optional_value()));
                };
                (option, Spelling::Long(long))
            }
            // The only other error: a value after a letter that takes none.
            Err(_) => return Err(unknown_letter(&non_utf8, '=')),
        };
        if let (Action::Flag(_) | Action::Help | Action::Version, Spelling::Long(name)) =
            (&option.action, &spelling)
            && parser.optional_value().is_some()
        {
            let message = format!("option '--{name}' doesn't allow an argument");
            return Err(UsageError::new(message));
        }
        match option.action {
            Action::Flag(set) => set(raw),
            Action::Value(_, set) => {
                let value = parser.value().map_err(|_| {
                    UsageError::new(match spelling {
                        Spelling::Short(letter) => {
                            format!("option requires an argument -- '{letter}'")
                        }
                        Spelling::Long(name) => format!("option '--{name}' requires an argument"),
                    })
                })?;
                set(raw, &value)?;
            }
            Action::OptionalValue(_, set) => {
                let value = parser.optional_value();
                set(raw, value.as_deref())?;
            }
            Action::AfterFile(_, hint, is_operand) => {
                if is_whole_arg
                    && is_operand(raw)
                    && let Some(rest) = parser.try_raw_args()
                {
                    operands.push(match spelling {
                        Spelling::Short(letter) => format!("-{letter}").into(),
                        Spelling::Long(name) => format!("--{name}").into(),
                    });
                    operands.extend(rest);
                    return Ok(ScanResult::Operands(operands));
                }
                return Err(UsageError::new(match spelling {
                    Spelling::Short(letter) => format!("invalid option -- '{letter}' ({hint})"),
                    Spelling::Long(name) => format!("unrecognized option '--{name}' ({hint})"),
                }));
            }
            Action::Help => return Ok(ScanResult::Help),
            Action::Version => return Ok(ScanResult::Version),
        }
    }
}

/// How an option was written, for error messages.
#[derive(Clone, Copy)]
enum Spelling {
    Short(char),
    /// The full name, even if it was abbreviated.
    Long(&'static str),
}

/// An option, and the name by which it was found.
type NamedOption<D> = (&'static OptionSpec<D>, &'static str);

/// Finds an option by its name, or by a prefix that no other option has. Several names of one
/// option do not make a prefix ambiguous.
fn find_by_name<D>(
    table: &'static [OptionSpec<D>],
    name: &str,
) -> Result<Option<NamedOption<D>>, UsageError> {
    let named =
        |option: &'static OptionSpec<D>| option.long.iter().map(move |long| (option, *long));
    let names = || table.iter().flat_map(named);
    if let Some(exact) = names().find(|(_, long)| *long == name) {
        return Ok(Some(exact));
    }
    let has_prefix = |(option, long): &NamedOption<D>| {
        long.starts_with(name)
            && option.abbrev == Abbrev::Allowed
            && !matches!(option.action, Action::AfterFile(..))
    };
    let candidates = || names().filter(has_prefix);
    let first = candidates().next();
    if first.is_some_and(|(first, _)| candidates().any(|(other, _)| !std::ptr::eq(first, other))) {
        let possible = candidates()
            .map(|(_, long)| format!(" '--{long}'"))
            .collect::<String>();
        return Err(UsageError::new(format!(
            "option '--{name}' is ambiguous; possibilities:{possible}"
        )));
    }
    Ok(first)
}

/// Quotes a byte that is not UTF-8 as it was written.
fn unknown_letter(non_utf8: &[OsString], letter: char) -> UsageError {
    let first_invalid = |arg: &OsString| match str::from_utf8(arg.as_bytes()) {
        Err(error) if arg.as_bytes().starts_with(b"-") => Some(arg.as_bytes()[error.valid_up_to()]),
        _ => None,
    };
    let written = match non_utf8.iter().find_map(first_invalid) {
        Some(byte) if letter == char::REPLACEMENT_CHARACTER => vec![byte],
        _ => letter.to_string().into_bytes(),
    };
    let mut message = OsString::from("invalid option -- '");
    message.push(OsStr::from_bytes(&written));
    message.push("'");
    UsageError::new(message)
}

/// Quotes the argument with its value as it was written.
fn unknown_name(non_utf8: &[OsString], name: &str, value: Option<OsString>) -> UsageError {
    let mut arg = OsString::from(format!("--{name}"));
    if let Some(value) = value {
        arg.push("=");
        arg.push(value);
    }
    let is_lossy_form = |verbatim: &&OsString| verbatim.to_string_lossy() == arg.to_string_lossy();
    let mut message = OsString::from("unrecognized option '");
    message.push(non_utf8.iter().find(is_lossy_form).unwrap_or(&arg));
    message.push("'");
    UsageError::new(message)
}

#[cfg(test)]
mod tests {
    use super::super::Letters;
    use super::*;

    /// The values that were set, in order.
    type Recorded = Vec<String>;

    static TABLE: &[OptionSpec<Recorded>] = &[
        OptionSpec {
            short: Letters::two('a', 'b'),
            long: &["alpha"],
            action: Action::Flag(|recorded| recorded.push("alpha".into())),
            ..OptionSpec::help("")
        },
        OptionSpec {
            short: Letters::one('v'),
            long: &["value", "val"],
            action: Action::Value("V", |recorded, arg| {
                recorded.push(arg.to_string_lossy().into_owned());
                Ok(())
            }),
            ..OptionSpec::help("")
        },
        OptionSpec::version(""),
        OptionSpec::help(""),
        OptionSpec {
            short: Letters::NONE,
            long: &["optional"],
            action: Action::OptionalValue("O", |recorded, arg| {
                let arg = arg.map_or("none".into(), |arg| arg.to_string_lossy().into_owned());
                recorded.push(arg);
                Ok(())
            }),
            ..OptionSpec::help("")
        },
        OptionSpec {
            short: Letters::one('c'),
            long: &["command"],
            action: Action::AfterFile("C", "after FILE", |recorded| !recorded.is_empty()),
            ..OptionSpec::help("")
        },
    ];

    fn scan_line(line: &str) -> (Result<ScanResult, String>, Recorded) {
        scan_up_to(1, line)
    }

    /// Checks the operands and the values that were set.
    #[track_caller]
    fn assert_scanned(max_operands: usize, line: &str, operands: &[&str], values: &[&str]) {
        let operands = operands.iter().map(OsString::from).collect();
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let expected = (Ok(ScanResult::Operands(operands)), values);
        assert_eq!(scan_up_to(max_operands, line), expected, "{line}");
    }

    fn scan_up_to(max_operands: usize, line: &str) -> (Result<ScanResult, String>, Recorded) {
        let mut recorded = Recorded::new();
        let args = line.split_whitespace().map(OsString::from).collect();
        let result = scan(TABLE, args, max_operands, &mut recorded)
            .map_err(|error| error.message().to_string_lossy().into_owned());
        (result, recorded)
    }

    #[test]
    fn a_value_is_attached_or_the_next_argument() {
        for line in [
            "-v-5 x",
            "-v -5 x",
            "--value=-5 x",
            "--value -5 x",
            "--val=-5 x",
            "--valu -5 x",
        ] {
            assert_scanned(1, line, &["x"], &["-5"]);
        }
    }

    #[test]
    fn an_optional_value_follows_an_equals_sign() {
        assert_scanned(1, "--optional x", &["x"], &["none"]);
        assert_scanned(1, "--optional=5 x", &["x"], &["5"]);
        assert_scanned(1, "--optional= x", &["x"], &[""]);
    }

    #[test]
    fn letters_can_be_combined() {
        assert_scanned(1, "-abv5 x", &["x"], &["alpha", "alpha", "5"]);
    }

    #[test]
    fn options_end_at_an_operand_or_two_dashes() {
        assert_scanned(1, "x -a", &["x", "-a"], &[]);
        assert_scanned(1, "-a -- -a --", &["-a", "--"], &["alpha"]);
        assert_scanned(1, "x -- y", &["x", "--", "y"], &[]);
        assert_scanned(1, "- -a", &["-", "-a"], &[]);
    }

    #[test]
    fn options_may_follow_operands_before_the_command() {
        assert_scanned(2, "x -a y -a", &["x", "y", "-a"], &["alpha"]);
        assert_scanned(3, "x y -a", &["x", "y"], &["alpha"]);
        assert_scanned(3, "x -- -a y -a", &["x", "-a", "y", "-a"], &[]);
    }

    #[test]
    fn an_argument_after_the_file_may_be_the_first_operand() {
        assert_scanned(1, "-a -c -a x", &["-c", "-a", "x"], &["alpha"]);
        assert_scanned(1, "-a --command", &["--command"], &["alpha"]);
        for line in ["-ac x", "-a -cx", "-c -a"] {
            let message = "invalid option -- 'c' (after FILE)";
            assert_eq!(scan_line(line).0, Err(message.into()), "{line}");
        }
        let (result, _) = scan_line("-a --command=x");
        let message = "unrecognized option '--command' (after FILE)";
        assert_eq!(result, Err(message.into()));
    }

    #[test]
    fn an_unambiguous_prefix_is_enough() {
        assert_scanned(1, "--al x", &["x"], &["alpha"]);
    }

    #[test]
    fn errors_are_worded_as_by_getopt() {
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
            ("-c x", "invalid option -- 'c' (after FILE)"),
            ("--co x", "unrecognized option '--co'"),
            (
                "--v x",
                "option '--v' is ambiguous; possibilities: '--value' '--val' '--version'",
            ),
        ] {
            assert_eq!(scan_line(line).0, Err(message.into()), "{line}");
        }
    }

    #[test]
    fn help_and_version_take_effect_in_order() {
        assert_eq!(scan_line("--help --zeta").0, Ok(ScanResult::Help));
        assert_eq!(scan_line("--version").0, Ok(ScanResult::Version));
        assert!(scan_line("--zeta --help").0.is_err());
    }
}

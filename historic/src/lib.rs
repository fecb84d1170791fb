//! Four older locking tools on top of `fdlock`: their programs and their kinds of lock.
//!
//! * [`loto`], [`me_only`], [`runlock`], [`ulock`] – a program each: its request, its options
//!   (`args`) and how a request is carried out (`run`).
//! * [`abstract_socket`], [`pid_file`], [`hard_link`] – their kinds of lock; [`new_file`] creates
//!   files that appear under their name complete or not at all.
//! * [`error`], [`exit`] – their errors and their exit statuses.

#![deny(unsafe_code)]

pub mod abstract_socket;
pub mod error;
pub mod exit;
pub mod hard_link;
pub mod loto;
pub mod me_only;
pub mod new_file;
pub mod pid_file;
pub mod runlock;
pub mod ulock;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fmt::Debug;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use fdlock::cli::{ParseResult, UsageError};
    use proptest::prelude::*;

    /// The function that parses a program's arguments.
    type Parse<R> = fn(Vec<OsString>) -> Result<ParseResult<R>, UsageError>;

    pub(crate) fn args(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    pub(crate) fn request<R: Debug>(parse: Parse<R>, line: &str) -> R {
        match parse(args(line)) {
            Ok(ParseResult::Request(request)) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// Returns the message about invalid arguments.
    pub(crate) fn usage_error<R: Debug>(parse: Parse<R>, args: Vec<OsString>) -> String {
        let error = parse(args.clone()).expect_err(&format!("{args:?}"));
        error.message().to_string_lossy().into_owned()
    }

    /// Arguments that look like those of the programs, and arbitrary ones.
    fn argument() -> impl Strategy<Value = OsString> {
        let plausible = "(-{0,2}[a-zA-Z]{0,3}(=[0-9a-z./-]{0,4})?\
                         |--(timeout|invalid|help|version)(=.{0,4})?\
                         |[0-9.]{0,3})";
        prop_oneof![
            plausible.prop_map(OsString::from),
            any::<Vec<u8>>().prop_map(|mut bytes| {
                bytes.retain(|byte| *byte != 0);
                OsString::from_vec(bytes)
            }),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_arguments_do_not_panic(args in prop::collection::vec(argument(), 0..6)) {
            let _ = loto::args::parse(args.clone());
            let _ = me_only::args::parse(args.clone());
            let _ = runlock::args::parse(args.clone());
            let _ = ulock::args::parse(args);
        }
    }
}

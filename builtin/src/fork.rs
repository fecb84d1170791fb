//! The purpose for which bash forked this process.

use std::sync::Mutex;

use fdlock::sys::signal::{self, Disposition, number};

use crate::ffi::{self, Bash};
use crate::handle;

/// The state of bash when this process was forked.
#[derive(Clone, Copy)]
struct AtFork {
    /// The nesting depth of functions and of evaluations.
    depth: (i32, i32),
    /// Hashes of what may be the only command of the subshell or coprocess that bash forked.
    sole_commands: [Option<u64>; 2],
    job_control: bool,
    /// What commands inherit for `INTERRUPTS`. The dispositions of the shell itself are bash's own.
    interrupts: [Disposition; 2],
}

/// The signals that the terminal sends to the foreground process group.
const INTERRUPTS: [i32; 2] = [number::INT, number::QUIT];

static AT_FORK: Mutex<Option<AtFork>> = Mutex::new(None);

/// Records the state of bash. Called in every child, which has one thread, as bash has: no other
/// thread holds the mutex.
pub extern "C" fn record_fork() {
    handle::forget();
    if let (Some(bash), Ok(mut at_fork)) = (ffi::bash(), AT_FORK.try_lock()) {
        let sole_commands = sole_commands(bash.last_printed_command());
        *at_fork = Some(AtFork {
            depth: bash.depth(),
            sole_commands: sole_commands.map(|text| text.map(hash)),
            job_control: bash.has_job_control(),
            interrupts: INTERRUPTS.map(|signal| bash.inherited_disposition(signal)),
        });
    }
}

fn at_fork() -> Option<AtFork> {
    AT_FORK.try_lock().ok().and_then(|at_fork| *at_fork)
}

/// Returns whether this process was forked for this very command and does nothing else, as in
/// `flock f c &` and `( flock f c )`.
///
/// If it was forked for a function or an `eval` that contains the command, the depth is greater
/// than at the fork. It is greater in a trap, too, for which bash does not provide the command.
/// Substitutions are excluded: in them bash starts to count again and keeps the flag of the process
/// that forked them, and nothing shows that one consists of a single command.
pub fn is_sole_command(bash: &Bash, text: &[u8]) -> bool {
    at_fork().is_some_and(|at_fork| {
        !bash.is_in_substitution()
            && bash.depth() == at_fork.depth
            && (bash.is_forked_for_command() || at_fork.sole_commands.contains(&Some(hash(text))))
    })
}

/// Gives a background process that is about to execute a program the dispositions that bash would
/// have given it: without job control it ignores the signals that the terminal sends to the
/// foreground (POSIX, 2.9.3.1), with job control it does not. For a builtin, bash handles this
/// differently, and not always in the same way.
pub fn restore_interrupts(bash: &Bash) {
    if !bash.is_in_background() || !bash.is_forked_for_command() {
        return;
    }
    let Some(at_fork) = at_fork() else { return };
    for (signal, inherited) in INTERRUPTS.into_iter().zip(at_fork.interrupts) {
        let ignored = Disposition::Ignore;
        signal::set_disposition(
            signal,
            if at_fork.job_control {
                inherited
            } else {
                ignored
            },
        );
    }
}

/// Returns the text between the parentheses of a subshell, or after `coproc`, with and without its
/// first word: that may be the name of the coprocess, which can be omitted (bash 5.3).
fn sole_commands(text: &[u8]) -> [Option<&[u8]>; 2] {
    let Some(coprocess) = text.strip_prefix(b"coproc ") else {
        let subshell = text.strip_prefix(b"( ");
        return [subshell.and_then(|text| text.strip_suffix(b" )")), None];
    };
    let name_end = coprocess.iter().position(|byte| *byte == b' ');
    [
        Some(coprocess),
        name_end.map(|index| &coprocess[index + 1..]),
    ]
}

/// Returns the FNV-1a hash.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_subshell_or_a_coprocess_is_found() {
        let command = Some(&b"flock f c"[..]);
        assert_eq!(sole_commands(b"( flock f c )"), [command, None]);
        assert_eq!(sole_commands(b"coproc NAME flock f c")[1], command);
        assert_eq!(sole_commands(b"coproc flock f c")[0], command);
        for text in [&b""[..], b"flock f c", b"( flock f c", b"coproc"] {
            assert_eq!(sole_commands(text), [None, None]);
        }
    }
}

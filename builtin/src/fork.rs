//! What this process was forked for.

use std::sync::Mutex;

use fdlock::sys::signal::{self, Disposition, number};

use crate::ffi::{self, Bash};

/// What bash was about when this process was forked.
#[derive(Clone, Copy)]
struct AtFork {
    /// How deep it was in functions and evaluations.
    depth: (i32, i32),
    /// The hashes of what may be the only command in the subshell or coprocess that it had written out.
    alone: [Option<u64>; 2],
    /// Whether commands were jobs.
    jobs: Jobs,
    /// What the shell's user or caller wants of `INTERRUPTS`. Their dispositions are bash's own affair.
    interrupts: [Disposition; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Jobs {
    Controlled,
    Uncontrolled,
}

/// What the terminal sends to the whole foreground.
const INTERRUPTS: [i32; 2] = [number::INT, number::QUIT];

static AT_FORK: Mutex<Option<AtFork>> = Mutex::new(None);

/// InterruptCheck in every child, which has one thread, as bash has: nobody holds the mutex.
pub extern "C" fn in_child() {
    if let (Some(bash), Ok(mut at_fork)) = (ffi::bash(), AT_FORK.try_lock()) {
        *at_fork = Some(AtFork {
            depth: bash.depth(),
            alone: within(bash.last_written()).map(|text| text.map(hash)),
            jobs: if bash.has_job_control() {
                Jobs::Controlled
            } else {
                Jobs::Uncontrolled
            },
            interrupts: INTERRUPTS.map(|signal| bash.wanted(signal)),
        });
    }
}

fn at_fork() -> Option<AtFork> {
    AT_FORK.try_lock().ok().and_then(|at_fork| *at_fork)
}

/// Whether this process was forked for this very command and is there for nothing else, as in `flock f c &` and `( flock f
/// c )`; not if it was forked for a function or an `eval` that the command is part of: that is deeper than the fork was.
/// A trap, for which bash does not say what it executes, is deeper too. In a substitution bash begins to count anew, and
/// keeps the mark of the process that it was forked in; but no substitution is there for one command that we know of.
pub fn is_alone(bash: &Bash, text: &[u8]) -> bool {
    at_fork().is_some_and(|at_fork| {
        !bash.is_in_substitution()
            && bash.depth() == at_fork.depth
            && (bash.is_forked_for_command() || at_fork.alone.contains(&Some(hash(text))))
    })
}

/// Gives a background process that becomes a program the dispositions that bash would have given it: without job control
/// it ignores what the terminal sends to the foreground (POSIX, 2.9.3.1), with it it does not. For a builtin bash goes
/// about this otherwise, and not always in the same way.
pub fn restore_interrupts(bash: &Bash) {
    if !bash.is_in_background() || !bash.is_forked_for_command() {
        return;
    }
    let Some(at_fork) = at_fork() else { return };
    for (signal, disposition) in INTERRUPTS.into_iter().zip(at_fork.interrupts) {
        let disposition = match at_fork.jobs {
            Jobs::Controlled => disposition,
            Jobs::Uncontrolled => Disposition::Ignore,
        };
        signal::set_disposition(signal, disposition);
    }
}

/// What is written between the parentheses of a subshell; or behind `coproc`, where the name may be left out (5.3).
fn within(text: &[u8]) -> [Option<&[u8]>; 2] {
    let Some(coprocess) = text.strip_prefix(b"coproc ") else {
        let subshell = text.strip_prefix(b"( ");
        return [subshell.and_then(|text| text.strip_suffix(b" )")), None];
    };
    let name = coprocess.iter().position(|byte| *byte == b' ');
    [Some(coprocess), name.map(|name| &coprocess[name + 1..])]
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alone_is_what_is_left_of_a_subshell_or_a_coprocess() {
        let command = Some(&b"flock f c"[..]);
        assert_eq!(within(b"( flock f c )"), [command, None]);
        assert_eq!(within(b"coproc NAME flock f c")[1], command);
        assert_eq!(within(b"coproc flock f c")[0], command);
        for text in [&b""[..], b"flock f c", b"( flock f c", b"coproc"] {
            assert_eq!(within(text), [None, None]);
        }
    }
}

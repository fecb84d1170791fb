//! Exit statuses of the historic tools.

use fdlock::exit::{Exit, SUCCESS, Statuses};
use fdlock::run::ExitReason;

/// The statuses of `loto`: `EXIT_FAILURE`, and for the command those that POSIX specifies for
/// utilities that run others.
pub static LOTO: Statuses = Statuses {
    no_output: 1,
    conflict: 1,
    usage: 1,
    lock_failed: 1,
    not_opened: 1,
    not_created: 1,
    exhausted: 1,
    not_found: 127,
    not_executed: 126,
    lost_child: 1,
};

/// The statuses of `me-only`: those of its manual, and higher ones for errors that the manual does
/// not mention.
pub static ME_ONLY: Statuses = Statuses {
    no_output: 1,
    conflict: 4,
    usage: 2,
    lock_failed: 3,
    not_opened: 3,
    not_created: 3,
    exhausted: 71,
    not_found: 1,
    not_executed: 1,
    lost_child: 71,
};

/// The statuses of `runlock`: a conflict is not a failure, 127 is a usage error, and the others are
/// those of `flock`.
pub static RUNLOCK: Statuses = Statuses {
    no_output: 1,
    conflict: SUCCESS,
    usage: 127,
    lock_failed: 65,
    not_opened: 66,
    not_created: 73,
    exhausted: 71,
    not_found: 126,
    not_executed: 126,
    lost_child: 71,
};

/// The statuses of `ulock`: a single one for all failures. Its command is a shell command line,
/// which has statuses of its own.
pub static ULOCK: Statuses = Statuses {
    not_found: 1,
    not_executed: 1,
    ..LOTO
};

/// Returns how `me-only` exits after its script.
///
/// The manual of `me-only` gives the statuses 1 to 4 a meaning of their own. A script that exits
/// with one of them must not look as if it had never run, so they become 201 to 204. All others are
/// passed on.
pub fn for_script(reason: ExitReason) -> Exit {
    match reason {
        ExitReason::Exited(status @ 1..=4) => Exit::Status(200 + status),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_me_only_share_no_failure_status() {
        let own = &ME_ONLY;
        let own = [own.not_found, own.usage, own.lock_failed, own.conflict];
        for status in 0..=u8::MAX {
            let offset = if own.contains(&status) { 200 } else { 0 };
            let exit = for_script(ExitReason::Exited(status));
            assert_eq!(exit, Exit::Status(status + offset));
        }
    }

    #[test]
    fn a_killed_script_is_reported_like_any_command() {
        for reason in [ExitReason::Signaled(1), ExitReason::SignaledToo(1)] {
            assert_eq!(for_script(reason), Exit::from(reason));
        }
    }
}

//! Exit statuses of the older tools.

use fdlock::exit::{Exit, SUCCESS, Statuses};
use fdlock::run;

/// `loto`: `EXIT_FAILURE`, and for the command what POSIX has for programs that run others.
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

/// `me-only`: as its page has them; what that does not foresee is above them.
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

/// `runlock`: a lock that is taken is no failure, 127 is usage, and the rest is as in `flock`.
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

/// `ulock`: one status for everything; its command is a line of shell, which has its own.
pub static ULOCK: Statuses = Statuses {
    no_output: 1,
    conflict: 1,
    usage: 1,
    lock_failed: 1,
    not_opened: 1,
    not_created: 1,
    exhausted: 1,
    not_found: 1,
    not_executed: 1,
    lost_child: 1,
};

/// What `me-only` adds to those of its script's statuses that it has itself.
const SCRIPTS: u8 = 200;

/// As a script ended, for `me-only`, whose page gives 1 to 4 a meaning of their own. A script that exits with one
/// of those must not look as if it had never run, so it becomes 201 to 204; all others are as they were.
pub fn of_script(ended: run::ExitReason) -> Exit {
    match ended {
        run::ExitReason::Exited(status @ 1..=4) => Exit::Status(SCRIPTS + status),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_under_me_only_has_no_status_that_me_only_gives_a_meaning() {
        let own = [
            ME_ONLY.not_found,
            ME_ONLY.usage,
            ME_ONLY.lock_failed,
            ME_ONLY.conflict,
        ];
        for status in 0..=u8::MAX {
            let wanted = if own.contains(&status) {
                status + 200
            } else {
                status
            };
            let exit = of_script(run::ExitReason::Exited(status));
            assert_eq!(exit, Exit::Status(wanted));
        }
    }

    #[test]
    fn a_script_that_is_killed_ends_as_any_command_does() {
        for ended in [
            run::ExitReason::Signaled(1),
            run::ExitReason::SignaledToo(1),
        ] {
            assert_eq!(of_script(ended), Exit::from(ended));
        }
    }
}

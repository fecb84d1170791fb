//! Why `ssh` has exited before the holder was ready.

/// The exit status of `ssh` if the connection failed. Others are those of the remote command.
const SSH_FAILED: i32 = 255;

/// Why the other machine cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may pass.
    NotReached(String),
    /// No attempt will succeed: the exit status, and the reason.
    Final(u8, String),
}

/// Parts of the messages of `ssh`, which are not translated, with the status and the meaning.
const FINAL: [(&str, u8, &str); 7] = [
    (
        "Host key verification failed",
        65,
        "its host key is not known, or not the known one: connect once by hand",
    ),
    (
        "Permission denied (",
        77,
        "ssh is refused, and must not ask: it needs a key without a passphrase, or an agent",
    ),
    (
        "Too many authentication failures",
        77,
        "ssh is refused: it has offered too many keys",
    ),
    ("onfiguration option", 69, INVALID),
    ("Bad owner or permissions", 69, INVALID),
    ("no argument after keyword", 69, INVALID),
    ("unsupported option", 69, INVALID),
];

const INVALID: &str = "ssh's configuration cannot be used";

/// Interprets the exit of `ssh` from its status, `None` if it was killed, and from what it wrote to
/// standard error.
pub fn of_ssh(status: Option<i32>, stderr: &str) -> Failure {
    let mut lines = stderr.lines().map(str::trim);
    let last = lines.rfind(|line| !line.is_empty());
    if let Some(status) = status.filter(|status| *status != SSH_FAILED) {
        let why = last.map_or_else(|| format!("status {status}"), str::to_owned);
        return Failure::Final(65, format!("no command can be run there: {why}"));
    }
    for (part, status, text) in FINAL {
        if let Some(line) = stderr.lines().find(|line| line.contains(part)) {
            let line = without_prefix(line.trim());
            return Failure::Final(status, format!("{text} ({line})"));
        }
    }
    let why = last.map_or("the connection has ended", without_prefix);
    Failure::NotReached(why.to_owned())
}

fn without_prefix(line: &str) -> &str {
    let line = line.strip_prefix("ssh: ").unwrap_or(line);
    line.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_fail_are_tried_again() {
        let refused = "ssh: connect to host h port 22: Connection refused\r\n";
        let expected = "connect to host h port 22: Connection refused".to_owned();
        assert_eq!(of_ssh(Some(255), refused), Failure::NotReached(expected));
        assert!(matches!(of_ssh(None, ""), Failure::NotReached(_)));
        let busy = "kex_exchange_identification: Connection closed by remote host\r\n";
        assert!(matches!(of_ssh(Some(255), busy), Failure::NotReached(_)));
    }

    #[test]
    fn refusals_are_final() {
        for (stderr, expected) in [
            ("ann@h: Permission denied (publickey).\r\n", 77),
            (
                "Received disconnect from ::1: Too many authentication failures\r\nx",
                77,
            ),
            (
                "No ED25519 host key is known for h.\nHost key verification failed.\r\n",
                65,
            ),
            ("/x/config: line 1: Bad configuration option: x", 69),
        ] {
            let failure = of_ssh(Some(255), stderr);
            let is_expected = matches!(failure, Failure::Final(status, _) if status == expected);
            assert!(is_expected, "{failure:?}");
        }
    }

    #[test]
    fn a_shell_that_runs_no_command_is_unsuitable() {
        let text = "no command can be run there: This account is not available".to_owned();
        let stderr = "This account is not available\n";
        assert_eq!(of_ssh(Some(1), stderr), Failure::Final(65, text));
    }
}

//! The shells that are installed.

use rstest::rstest;
use test_support::is_installed;

use super::HandleTest;

/// A script whose lock ends in each of the ways that there are.
const SCRIPT: &str = "exec 8>>handle
flock 8 test://first 8>&8 || exit
flock 8 test://first 8>&8 || exit
(exec 8>&-)
flock -u 8 test://first 8>&8 || exit
cat log
flock 8 test://second 8>&8 || exit
flock -n -E7 8 test://first 8>&8 || exit
exec 8>&-
echo closed
until [ $(wc -l <log) = 6 ]; do sleep 0.01; done
sort log
exec 8>>handle
flock -w 60 8 test://third 8>&8 || exit
flock -n store-third true || echo locked
:
";

const EXPECTED: &str = "acquire exclusive test://first
release exclusive test://first
closed
acquire exclusive test://first
acquire exclusive test://first
acquire exclusive test://second
release exclusive test://first
release exclusive test://first
release exclusive test://second
locked
";

#[rstest]
fn lock_belongs_to_the_descriptor(
    #[values("bash", "dash", "zsh", "ksh93", "mksh", "busybox sh")] shell: &str,
) {
    if !is_installed(shell.split(' ').next().expect("a name")) {
        return;
    }
    let test = HandleTest::excluding();
    std::fs::write(test.file("script"), SCRIPT).expect("the script");
    test.sh(format!("exec {shell} script"))
        .assert_all(0, EXPECTED, "");
    let is_free = "until flock -n store-third true; do sleep 0.01; done";
    test.sh(is_free).assert_all(0, "", "");
}

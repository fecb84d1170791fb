//! Everything at once: writers, readers, those who use no counter and old scripts count under one lock, while holders
//! are killed and leave it behind. The count must be exact, and nobody may hang.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use test_support::stress::random_delay;

use fastrand::Rng;
use test_support::TestEnv;
use test_support::process::{open_pidfd, poll_readable, send_signal};
use test_support::stress::StressSettings;

/// One step, in two writes so that whoever comes in between sees it.
const STEP: &str = r#"read a b <count; [ "$a" = "$b" ] || echo "torn: $a $b" >&2
    n=$((a + 1)); printf %s $n >count; printf ' %s\n' $n >>count; echo $n >>journal"#;

/// What a reader does.
const CHECK: &str = r#"read a b <count; [ "$a" = "$b" ] || echo "torn: $a $b" >&2"#;

struct StressTest<'l> {
    env: &'l TestEnv,
    deadline: Instant,
}

impl StressTest<'_> {
    fn spawn(&self, script: &str) -> Child {
        let errors = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.env.file("errors"));
        let mut shell: Command = self.env.command("sh");
        shell
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stderr(errors.expect("a file"));
        shell.spawn().expect("it starts")
    }

    /// Its status, or `None` when it was killed.
    fn wait(&self, child: &mut Child) -> Option<i32> {
        if !poll_readable(&[open_pidfd(child).as_fd()], self.deadline)[0] {
            send_signal(-(child.id() as i32), libc::SIGKILL);
            panic!("hung: {child:?}");
        }
        child.wait().expect("our child").code()
    }

    /// So many rounds of a script.
    fn repeat(&self, rounds: u64, script: &str) {
        let script = format!("i=0; while [ $i -lt {rounds} ]; do i=$((i + 1)); {script}; done");
        assert_eq!(self.wait(&mut self.spawn(&script)), Some(0), "{script}");
    }

    /// Those who wait for the lock or hold it, and are killed. Whoever holds it leaves it behind.
    fn die(&self, mut rng: Rng, rounds: u64) {
        for _ in 0..rounds {
            let words = ["lock", "-w lock counter", "-w lock"][rng.usize(..3)];
            let mut child = self.spawn(&format!("ulock --invalid=2 {words} && read x"));
            random_delay(&mut rng);
            send_signal(-(child.id() as i32), libc::SIGKILL);
            assert_eq!(self.wait(&mut child), None);
        }
        // At least one leaves it behind for committed.
        let mut child = self.spawn("ulock --invalid=2 lock && kill -9 $$");
        assert_eq!(self.wait(&mut child), None);
    }
}

#[test]
fn the_count_is_exact_while_locks_are_left_behind() {
    let env = TestEnv::new();
    let StressSettings { size, seed } = StressSettings::from_env();
    for (name, text) in [("count", "0 0\n"), ("journal", ""), ("errors", "")] {
        fs::write(env.file(name), text).expect("a file");
    }
    let stress = &StressTest {
        env: &env,
        deadline: Instant::now() + Duration::from_secs(60 + 60 * size),
    };
    let rounds = 15 * size;
    let write = format!("ulock --invalid=2 -w lock counter || exit 9; {STEP}; rm -f lock");
    let read = format!("ulock --invalid=2 -r lock counter '{CHECK}' || exit 9");
    let old = format!(
        ": >tmp.$$; until ln tmp.$$ lock 2>/dev/null; do sleep 0.01; done; rm tmp.$$
         until [ \"$(stat -c %h counter)\" = 1 ]; do sleep 0.01; done; {STEP}; rm -f lock"
    );
    env.sh("ulock -w lock counter; rm lock").assert_status(0);
    std::thread::scope(|scope| {
        for script in [&write, &write, &write, &write, &read, &read, &read, &old] {
            scope.spawn(move || stress.repeat(rounds, script));
        }
        for one in 0..2 {
            scope.spawn(move || stress.die(Rng::with_seed(seed ^ (one << 50)), 4 * size));
        }
    });
    let said = |name| fs::read_to_string(env.file(name)).expect("it was written");
    assert_eq!(said("errors"), "");
    let steps = 5 * rounds;
    let journal: String = (1..=steps).map(|step| format!("{step}\n")).collect();
    assert_eq!(said("journal"), journal);
    assert_eq!(said("count"), format!("{steps} {steps}\n"));
    env.sh("ulock --invalid=2 -w lock counter && stat -c %h counter")
        .assert_stdout("1\n");
}

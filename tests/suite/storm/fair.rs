//! The same with turns: among those who wait for theirs, those who take none, and those who kill tokens or stop
//! waiters.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{STEP, Storm};
use test_support::locks::{is_token, parent_of, status_field, turns};
use test_support::process::send;
use test_support::stress::Dice;
use test_support::{Lab, departure, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference knows no turns";

/// The ways to make a step that waits for its turn.
const WAYS: [&[&str]; 4] = [
    &["--fair"],
    &["--fair", "-w1000"],
    &["-x", "--fair"],
    &["--fair", "-E9"],
];

/// What those who disturb the others have done, and whether it is enough.
#[derive(Default)]
struct Mischief {
    over: AtomicBool,
    kills: AtomicU64,
    tokens: AtomicU64,
    stops: AtomicU64,
}

/// A number by which the process is not known any more when it is over.
fn is_flock(pid: i32) -> bool {
    status_field(pid, "Name") == "flock"
}

impl Storm<'_> {
    /// Steps in shells by a descriptor, shared and exclusive by turns.
    fn step_by_fair_descriptor(&self, mut dice: Dice) {
        let steps = 40 * self.size;
        let step = match dice.below(3) {
            0 => format!("exec 8>>lock; flock --fair 8 || exit 9; {STEP}; exec 8>&-"),
            1 => format!("(flock --fair -w 1000 9 || exit 9; {STEP}) 9<lock || exit 9"),
            // The lock that it has is given up for the one that it wants.
            _ => format!(
                "exec 8<lock; flock --fair -s 8 || exit 9; flock --fair 8 || exit 9; {STEP}; flock -u 8"
            ),
        };
        let script = format!("i=0; while [ $i -lt {steps} ]; do i=$((i + 1)); {step}; done");
        let mut shell = self.lab.command("sh");
        shell.args(["-c", &script]);
        assert!(self.end(&mut self.spawn(shell)).success());
        self.sure.fetch_add(steps, Relaxed);
    }

    /// Waits, or holds, until it is killed: alone, or with its command and its token.
    fn is_killed(&self, mut dice: Dice, mischief: &Mischief) {
        for _ in 0..60 * self.size {
            let mut child = self.waits_or_holds(&mut dice);
            dice.dawdle();
            let alone = dice.below(2) == 0;
            let pid = child.id() as i32;
            // Alone it leaves a command behind, which ends when its stdin does.
            send(if alone { pid } else { -pid }, libc::SIGKILL);
            drop(child.stdin.take());
            let status = self.end(&mut child);
            assert!(status.signal() == Some(libc::SIGKILL), "{status}");
            mischief.kills.fetch_add(1, Relaxed);
        }
    }

    fn waits_or_holds(&self, dice: &mut Dice) -> Child {
        match dice.below(5) {
            0 => self.spawn_flock(&["--fair", "lock", "sh", "-c", "read x"]),
            1 => self.spawn_flock(&["--fair", "-s", "lock", "sh", "-c", "read x"]),
            2 => self.spawn_flock(&["--fair", "-w1000", "-o", "lock", "sh", "-c", "read x"]),
            3 => self.spawn_flock(&["-F", "--fair", "lock", "sh", "-c", "read x"]),
            _ => {
                let mut shell = self.lab.command("sh");
                shell.args(["-c", "exec 8>>lock; flock --fair 8; read x"]);
                self.spawn(shell)
            }
        }
    }

    /// Kills a token every now and then.
    fn kill_tokens(&self, mut dice: Dice, mischief: &Mischief) {
        while !mischief.over.load(Relaxed) {
            dice.dawdle();
            let turns = turns(self.lab.file("lock"));
            if turns.is_empty() {
                continue;
            }
            let victim = turns[dice.below(turns.len() as u64) as usize].token;
            if is_token(victim) && send(victim, libc::SIGKILL) {
                mischief.tokens.fetch_add(1, Relaxed);
            }
        }
    }

    /// Stops a waiter, or its token too, every now and then, for a moment.
    fn stop_waiters(&self, mut dice: Dice, mischief: &Mischief) {
        while !mischief.over.load(Relaxed) {
            dice.dawdle();
            let turns = turns(self.lab.file("lock"));
            let count = turns.len() as u64;
            let victims: Vec<i32> = turns
                .into_iter()
                .filter(|_| dice.below(count) == 0)
                .map(|turn| (parent_of(turn.token), turn.token))
                .filter(|(waiter, _)| is_flock(*waiter))
                .flat_map(|(waiter, token)| [waiter, token])
                .collect();
            for victim in &victims {
                send(*victim, libc::SIGSTOP);
            }
            dice.dawdle();
            for victim in &victims {
                send(*victim, libc::SIGCONT);
            }
            mischief.stops.fetch_add(victims.len() as u64 / 2, Relaxed);
        }
    }

    /// Steps or gives up, many times.
    fn gives_up(&self, mut dice: Dice) {
        for _ in 0..30 * self.size {
            self.step_or_give_up(&mut dice, &["--fair"]);
        }
    }
}

/// The tokens that still have the file `lock` of this lab open.
fn tokens_left(lab: &Lab) -> Vec<i32> {
    let lock = lab.file("lock");
    let pids = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    let has_it = |pid: &i32| {
        let folder = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut links = folder.into_iter().flatten().flatten();
        links.any(|link| fs::read_link(link.path()).is_ok_and(|to| to == lock))
    };
    pids.filter(|pid| is_token(*pid)).filter(has_it).collect()
}

/// Runs a storm, and then sees that nothing is left.
pub fn through(lab: &Lab, deeds: impl FnOnce(&Storm<'_>)) {
    // Somebody who knows no turns has lost already.
    lab.run(["--fair", "-n", "lock", "true"]).expect_code(0);
    let storm = Storm::new(lab);
    deeds(&storm);
    wait_until("no token is left", || tokens_left(lab).is_empty());
    wait_until("no turn is left", || turns(lab.file("lock")).is_empty());
    storm.blows_over();
}

/// Says that it is over, also when somebody has panicked, so that those who wait for it end.
struct Bell<'m>(&'m Mischief);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Relaxed);
    }
}

#[test]
fn the_count_is_exact_with_turns_and_without_through_kills_and_timeouts() {
    departure(WHY, |lab| {
        let mischief = Mischief::default();
        let reference = "/usr/bin/flock";
        let other = if Path::new(reference).exists() {
            reference
        } else {
            "flock"
        };
        through(lab, |storm| {
            std::thread::scope(|scope| {
                storm.many(scope, 11, 4, |storm, mut dice| {
                    let way = WAYS[dice.below(4) as usize];
                    // Verbose ones speak to nobody who would mind.
                    storm.step_by(dice, "flock", way, STEP);
                });
                storm.many(scope, 12, 2, |storm, dice| {
                    storm.step_by_fair_descriptor(dice)
                });
                storm.many(scope, 13, 2, |storm, dice| storm.read(dice, &["--fair"]));
                let mischief = &mischief;
                storm.many(scope, 14, 4, |storm, dice| storm.is_killed(dice, mischief));
                storm.many(scope, 15, 2, |storm, dice| storm.gives_up(dice));
                storm.many(scope, 16, 1, |storm, dice| {
                    storm.step_by(dice, other, &[], STEP)
                });
                storm.many(scope, 17, 1, |storm, dice| storm.read(dice, &[]));
                storm.many(scope, 18, 1, |storm, dice| storm.step_by_descriptor(dice));
            });
        });
        assert!(mischief.kills.into_inner() > 0);
    });
}

#[test]
fn the_count_is_exact_though_tokens_are_killed_and_waiters_stopped() {
    departure(WHY, |lab| {
        let mischief = Mischief::default();
        through(lab, |storm| {
            std::thread::scope(|scope| {
                let mischief = &mischief;
                let deeds = scope.spawn(move || {
                    let _bell = Bell(mischief);
                    std::thread::scope(|scope| {
                        storm.many(scope, 21, 6, |storm, mut dice| {
                            let way = WAYS[dice.below(4) as usize];
                            storm.step_by(dice, "flock", way, STEP);
                        });
                        storm.many(scope, 22, 3, |storm, dice| {
                            storm.step_by_fair_descriptor(dice)
                        });
                        storm.many(scope, 23, 2, |storm, dice| storm.read(dice, &["--fair"]));
                        storm.many(scope, 24, 1, |storm, dice| storm.is_killed(dice, mischief));
                    });
                });
                storm.many(scope, 25, 1, move |storm, dice| {
                    storm.kill_tokens(dice, mischief)
                });
                storm.many(scope, 26, 1, move |storm, dice| {
                    storm.stop_waiters(dice, mischief)
                });
                deeds.join().expect("all is well");
            });
        });
        let counts = [&mischief.tokens, &mischief.stops].map(|count| count.load(Relaxed));
        println!("killed and stopped: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    });
}

#[test]
fn the_count_is_exact_while_the_lock_file_is_replaced_under_those_who_have_turns() {
    let step =
        format!("{STEP}; case $((n % 3)) in 0) rm lock ;; 1) : >lock.$$; mv lock.$$ lock ;; esac");
    departure(WHY, |lab| {
        let step = &step;
        let mischief = Mischief::default();
        through(lab, |storm| {
            std::thread::scope(|scope| {
                let mischief = &mischief;
                storm.many(scope, 31, 6, move |storm, mut dice| {
                    let way = WAYS[dice.below(4) as usize];
                    storm.step_by(dice, "flock", way, step);
                });
                storm.many(scope, 32, 2, move |storm, dice| {
                    storm.step_by(dice, "flock", &[], step)
                });
                storm.many(scope, 33, 2, |storm, dice| storm.read(dice, &["--fair"]));
                storm.many(scope, 34, 2, move |storm, mut dice| {
                    for _ in 0..30 * storm.size {
                        let mut child =
                            storm.spawn_flock(&["--fair", "lock", "sh", "-c", "read x"]);
                        dice.dawdle();
                        send(-(child.id() as i32), libc::SIGKILL);
                        storm.end(&mut child);
                        mischief.kills.fetch_add(1, Relaxed);
                    }
                });
            });
        });
        assert!(mischief.kills.into_inner() > 0);
    });
}

#[test]
fn a_thousand_who_only_wait_are_killed_and_nothing_is_left_of_them() {
    departure(WHY, |lab| {
        let mischief = Mischief::default();
        through(lab, |storm| {
            let holder = lab.hold(&["--fair"], "lock");
            std::thread::scope(|scope| {
                let mischief = &mischief;
                storm.many(scope, 41, 4, move |storm, mut dice| {
                    for _ in 0..250 * storm.size {
                        let how = ["-x", "-s", "-w1000", "-F"][dice.below(4) as usize];
                        let mut child = storm.spawn_flock(&["--fair", how, "lock", "touch", "ran"]);
                        std::thread::sleep(Duration::from_micros(dice.below(4000)));
                        send(child.id() as i32, libc::SIGKILL);
                        assert_eq!(storm.end(&mut child).signal(), Some(libc::SIGKILL));
                        mischief.kills.fetch_add(1, Relaxed);
                    }
                });
            });
            wait_until("nobody waits", || turns(lab.file("lock")).is_empty());
            lab.run(["--fair", "-n", "lock", "true"]).expect_code(1);
            holder.let_go();
        });
        assert!(!lab.file("ran").exists());
        assert!(mischief.kills.into_inner() >= 1000);
    });
}

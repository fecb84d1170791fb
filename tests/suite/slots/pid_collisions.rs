//! Slots of processes that have the same number, each in a pid namespace of its own, as the first process of a
//! container has.

use std::fs::{self, File};
use std::os::fd::AsFd;

use fdlock::lock::fair::marker::{ArrivalTime, Marker};
use fdlock::sys::ofd::{self, Blocking, Operation};
use rustix::process::Pid;

use test_support::procfs::children_of;
use test_support::{can_unshare, differs_from_util_linux};

/// How far the bytes of one process number are apart, a step of time each.
const STEP: i64 = 1 << 22;

/// A slot that a process of number 1 takes now.
fn slot_now() -> i64 {
    let (arrived, pid) = (ArrivalTime::now(), Pid::INIT);
    Marker::Slot { arrived, pid }.offset()
}

/// The one slot that a process has.
fn slot_of(pid: i32) -> i64 {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it is there");
    let text = descriptors.map(|one| fs::read_to_string(one.expect("one").path()).expect("ours"));
    let text: String = text.collect();
    let line = text.lines().find(|line| line.contains("OFDLCK"));
    let first = line.expect("a slot").split_whitespace().nth_back(1);
    first.expect("a byte").parse().expect("a number")
}

#[test]
fn two_of_one_number_who_come_in_the_same_moment_have_a_slot_each() {
    differs_from_util_linux("the reference has no slots", |env| {
        if !can_unshare(env, "-pf") {
            return;
        }
        let mut delay = 0;
        for _ in 0..30 {
            // So many others of number 1 have come, one in each moment around that in which the next one is to come.
            fs::write(env.file("l"), "").expect("a file");
            let reading = File::open(env.file("l")).expect("a file");
            let began = slot_now();
            let first = began + (delay - 2000 * STEP).max(0);
            let others_have = |byte| byte >= first && (byte - first) / STEP < 4000;
            for number in 0..4000 {
                let byte = first + number * STEP;
                ofd::set(reading.as_fd(), Operation::Read, byte, 1, Blocking::No).expect("free");
            }
            let mut unshare = env.command("unshare");
            let script = ["l", "sh", "-c", "echo held; read x; exit 0"];
            unshare.args(["-pf", "flock", "--slots", "1000000", "-n"]);
            unshare.args(script);
            let mut unshare = env.start(unshare);
            unshare.expect_line("held");
            let slot = slot_of(children_of(unshare.pid())[0]);
            assert!(!others_have(slot), "{slot:#x} is another's already");
            delay = slot - began;
            unshare.release();
        }
    });
}

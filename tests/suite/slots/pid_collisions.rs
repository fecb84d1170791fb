//! Slots of processes that have the same pid, each in its own pid namespace, like the first
//! processes of containers.

use std::fs::{self, File};
use std::os::fd::AsFd;

use fdlock::lock::fair::marker::{ArrivalTime, Marker};
use fdlock::sys::ofd::{self, Blocking, Operation};
use rustix::process::Pid;

use crate::queue::{HOLD, unshared_flock};
use test_support::procfs::children_of;
use test_support::{TestEnv, can_unshare};

/// The distance between the offsets of two consecutive arrival times of a pid.
const STEP: i64 = 1 << 22;
/// How many slots of processes with pid 1 there are.
const COUNT: i64 = 2000;

/// Returns the offset of the one slot that a process has.
fn slot_of(pid: i32) -> i64 {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process exists");
    let text = files.map(|file| fs::read_to_string(file.expect("an entry").path()));
    let text: String = text.map(|text| text.expect("our process")).collect();
    let line = text.lines().find(|line| line.contains("OFDLCK"));
    let first = line.expect("a slot").split_whitespace().nth_back(1);
    first.expect("an offset").parse().expect("a number")
}

#[test]
fn processes_with_equal_pid_and_time_have_own_slots() {
    let env = &TestEnv::new();
    if !can_unshare(env, "-pf") {
        return;
    }
    let mut delay = 0;
    for _ in 0..10 {
        // Slots at all arrival times around the one at which the next process will arrive.
        fs::write(env.file("l"), "").expect("a file");
        let reading = File::open(env.file("l")).expect("a file");
        let (arrived, pid) = (ArrivalTime::now(), Pid::INIT);
        let start = Marker::Slot { arrived, pid }.offset();
        let first = start + (delay - COUNT / 2 * STEP).max(0);
        for number in 0..COUNT {
            let offset = first + number * STEP;
            ofd::set(reading.as_fd(), Operation::Read, offset, 1, Blocking::No)
                .expect("no conflict");
        }
        let args = [&["--slots", "1000000", "-w1000"], &HOLD[..]].concat();
        let mut unshare = env.start(unshared_flock(env, "-pf", &args));
        unshare.expect_line("held");
        let slot = slot_of(children_of(unshare.pid())[0]);
        let is_taken = slot >= first && (slot - first) / STEP < COUNT;
        assert!(!is_taken, "{slot:#x} is the slot of another process");
        delay = slot - start;
        unshare.release();
    }
}

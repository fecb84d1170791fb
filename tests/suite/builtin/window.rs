//! The window between the host's last look at its flags and the system call that blocks: `sys::attention`, tried out in
//! a process of its own, where a signal can be had at exactly that moment.

use test_support::locks::waiters;
use test_support::process::Live;
use test_support::{Lab, wait_until};

fn probe(lab: &Lab, how: &str) -> Live {
    let mut probe = lab.command("probe");
    probe.args(["attentive", how, "l"]);
    lab.start(probe)
}

#[test]
fn a_signal_just_before_the_call_ends_it() {
    let lab = Lab::new();
    for _ in 0..20 {
        probe(&lab, "attentive").hears("interrupted true handled 1");
    }
}

#[test]
fn without_attention_it_is_missed() {
    // So the test above tests something.
    let lab = Lab::new();
    for how in ["inattentive", "put-back"] {
        let probe = probe(&lab, how);
        wait_until("it waits", || waiters(lab.file("l")) == 1);
        probe.signal(libc::SIGUSR1);
        // Its handler restarts the call.
        wait_until("the signal is handled", || {
            test_support::locks::status_field(probe.pid(), "ShdPnd") == "0000000000000000"
        });
        wait_until("it still waits", || waiters(lab.file("l")) == 1);
    }
}

#[test]
fn a_signal_that_came_before_keeps_the_wait_from_beginning() {
    let lab = Lab::new();
    probe(&lab, "called-before").hears("interrupted true handled 1");
}

#[test]
fn a_time_that_is_up_before_the_call_ends_it() {
    let lab = Lab::new();
    probe(&lab, "timed").hears("interrupted true handled 0");
}

#[test]
fn none_of_many_signals_at_random_moments_is_missed() {
    let lab = Lab::new();
    probe(&lab, "20000").hears("all answered");
}

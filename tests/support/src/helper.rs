//! The helper program: `test-helper` in a test environment's PATH. It reports exactly what it has
//! inherited and which signals it receives.
//!
//! The program is the test binary itself, under another name: a function in `.init_array` runs
//! before `main` and, if the name is `test-helper`, does the helper's work and exits. When `main`
//! runs, Rust's runtime has already reopened closed descriptors and changed SIGPIPE.

#![allow(
    unsafe_code,
    reason = "it runs without Rust's runtime, and makes raw system calls"
)]

use std::ffi::CString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{fs, mem, ptr};

use rustix::net;

use crate::outcome::Outcome;
use crate::pre_exec::set_signal_mask;
use crate::process::print;
use crate::procfs::status_field;
use crate::programs::TEST_HELPER;
use crate::test_env::TestEnv;

/// The exit status of the helper when it has received all signals that it waits for. No other
/// program uses this status.
pub const ALL_SIGNALS_RECEIVED: i32 = 77;

/// The exit status of the original `me-only`, and of the helper in its place, when another process
/// has the name.
pub const NAME_TAKEN: i32 = 4;

#[used]
// SAFETY: the loader calls functions of this type, and this one only needs what is set up by then.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Ok(cmdline) = fs::read("/proc/self/cmdline") else {
        return;
    };
    let text = String::from_utf8_lossy(&cmdline);
    let text: Vec<&str> = text.split('\0').collect();
    if Path::new(text[0]).file_name() != Some(TEST_HELPER.as_ref()) {
        return reset_inherited_state();
    }
    let count = |text: &str| text.parse().expect("a count");
    // Each argument ends with a NUL, so the last element is empty.
    let raw_args: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    let raw_args = &raw_args[1..raw_args.len() - 1];
    let status = match text[1..text.len() - 1] {
        ["args", file, ..] => fs::write(file, &cmdline).map_or(1, |()| 0),
        ["inherited-state", file] => report_inherited_state(file),
        ["catch-signals", n] => catch_signals(count(n)),
        ["in-new-session", "catch-signals", n] => {
            rustix::process::setsid().expect("not a group leader");
            catch_signals(count(n))
        }
        ["in-child", "catch-signals", n] => in_child(|| catch_signals(count(n))),
        ["exec-in-new-session", _, ..] => exec_in_new_session(&raw_args[1..]),
        ["fork-in-new-session", _, ..] => fork_in_new_session(&raw_args[1..]),
        ["boottime", millis] => crate::lock_helper::print_boottime(millis),
        ["hold-lock", kind, start, length, file] => {
            let [start, length] = [start, length].map(|number| number.parse().expect("a number"));
            crate::lock_holder::hold_lock(kind, start, length, file)
        }
        ["harass", scenario, argument, file] => {
            crate::hostile::harass(scenario, argument.parse().expect("a number"), file)
        }
        ["measure", _, ..] => crate::hostile::measure(&raw_args[1..]),
        ["wait-for-lock", scenario, file] => crate::interruptible::wait(scenario, file),
        ["deny", call, error, _, ..] => match crate::sandbox::deny(call, error) {
            Ok(()) => exec(&raw_args[3..]),
            Err(_) => 3,
        },
        ["bind-name", shape, _, _, ..] => bind_and_exec(shape, raw_args[2], &raw_args[3..]),
        _ => 2,
    };
    // SAFETY: there is no cleanup to do, and all output was unbuffered.
    unsafe { libc::_exit(status) }
}

/// Makes the tests independent of what started them: descriptors, such as those of make's job
/// server, are not passed on, and no signal is ignored, as it would be under nohup.
fn reset_inherited_state() {
    let descriptors = fs::read_dir("/proc/self/fd").expect("/proc");
    for descriptor in descriptors.map(|entry| entry.expect("an entry").file_name()) {
        let fd: i32 = descriptor.to_string_lossy().parse().expect("a number");
        if fd > 2 {
            // SAFETY: this sets a flag of a descriptor; the one that lists the directory has it
            // already.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    for signal in 1..=64 {
        // SAFETY: all zeroes is the default action, and the array is large enough for the structure
        // of any platform. The C library's function refuses 32 and 33, which its posix_spawn(3) is
        // known to leave ignored.
        unsafe {
            let default = [0u64; 8];
            let old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8);
        }
    }
}

/// Writes to a file what this process has inherited.
fn report_inherited_state(file: &str) -> i32 {
    let mut state = String::new();
    let pid = std::process::id();
    let mut descriptors: Vec<_> = fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| Some((path.clone(), fs::read_link(path).ok()?)))
        // Without the descriptor that lists this directory.
        .filter(|(_, target)| *target != Path::new(&format!("/proc/{pid}/fd")))
        .collect();
    descriptors.sort();
    for (path, target) in descriptors {
        let fd = path.file_name().expect("a number");
        writeln!(state, "fd {} {}", fd.display(), target.display()).expect("a string");
    }
    for field in "SigPnd ShdPnd SigBlk SigIgn SigCgt Umask Groups NoNewPrivs".split(' ') {
        writeln!(state, "{field} {}", status_field(pid as i32, field)).expect("a string");
    }
    let cwd = fs::read_link("/proc/self/cwd").expect("cwd");
    writeln!(state, "cwd {}", cwd.display()).expect("a string");
    let nice = rustix::process::getpriority_process(None).expect("getpriority");
    writeln!(state, "nice {nice}").expect("a string");
    // SAFETY: an itimerval consists of numbers, and the call fills it in.
    let alarm = unsafe {
        let mut alarm: libc::itimerval = mem::zeroed();
        libc::getitimer(libc::ITIMER_REAL, &raw mut alarm);
        alarm.it_value
    };
    writeln!(state, "alarm {}", alarm.tv_sec != 0 || alarm.tv_usec != 0).expect("a string");
    state += &fs::read_to_string("/proc/self/limits").expect("limits");
    fs::write(file, state).expect("the report can be written");
    0
}

/// Blocks all signals, prints `ready PID`, and then `received NUMBER CODE VALUE` for each signal
/// that arrives, until it has received `count` of them.
fn catch_signals(count: usize) -> i32 {
    let all = u64::MAX;
    set_signal_mask(all).expect("a signal mask");
    print(&format!("ready {}\n", std::process::id()));
    for _ in 0..count {
        // So that a test that fails does not leave the helper behind forever.
        let timeout = libc::timespec {
            tv_sec: 120,
            tv_nsec: 0,
        };
        // SAFETY: the set, the result and the timeout outlive the call; 8 is the size of the set.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            let signal = libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const all,
                &raw mut info,
                &raw const timeout,
                8,
            );
            (signal, info)
        };
        if signal < 0 {
            return 3;
        }
        let value = match info.si_code {
            // SAFETY: a queued signal has a value.
            libc::SI_QUEUE => unsafe { info.si_value().sival_ptr as usize },
            _ => 0,
        };
        print(&format!("received {signal} {} {value}\n", info.si_code));
    }
    ALL_SIGNALS_RECEIVED
}

/// Does the work in a child, while the parent waits for a signal to kill it.
fn in_child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: no other thread has been started yet.
    unsafe {
        if libc::fork() == 0 {
            return work();
        }
        libc::pause()
    }
}

/// Binds an abstract socket name as other programs do, and executes a command in the same process,
/// which inherits the socket.
///
/// `original` and `padded` bind a whole `struct sockaddr_un`, padded with NULs; `original`, the
/// first `me-only`, also uses only 8 bytes of the name. `exact` is what Python, Perl and socat do.
fn bind_and_exec(shape: &str, name: &[u8], command: &[&[u8]]) -> i32 {
    let mut name = name.to_owned();
    if shape == "original" {
        name.truncate(8);
    }
    if shape != "exact" {
        name.resize(107, 0);
    }
    let socket = net::socket(net::AddressFamily::UNIX, net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    let address = net::SocketAddrUnix::new_abstract_name(&name).expect("not too long");
    if net::bind(&socket, &address).is_err() {
        return NAME_TAKEN;
    }
    // The socket is not close-on-exec.
    exec(command)
}

/// Executes a command in a child in a new session, as `su -c` does, and waits for it.
fn fork_in_new_session(command: &[&[u8]]) -> i32 {
    // SAFETY: no other thread has been started yet, and the status is not requested.
    unsafe {
        match libc::fork() {
            0 => return exec_in_new_session(command),
            child => libc::waitpid(child, ptr::null_mut(), 0),
        }
    };
    0
}

/// Executes a command in this process, in a new session.
fn exec_in_new_session(command: &[&[u8]]) -> i32 {
    rustix::process::setsid().expect("not a group leader");
    exec(command)
}

/// Executes a command in this process. Returns an exit status if that fails.
fn exec(command: &[&[u8]]) -> i32 {
    let c_string = |arg: &&[u8]| CString::new(*arg).expect("split at NUL");
    let args = Vec::from_iter(command.iter().map(c_string));
    let pointers = args.iter().map(|arg| arg.as_ptr());
    let pointers: Vec<_> = pointers.chain([ptr::null()]).collect();
    // SAFETY: a list of strings that ends with a null pointer.
    unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
    1
}

impl TestEnv {
    /// Runs a command that contains `test-helper inherited-state state`, and returns the report.
    #[track_caller]
    pub fn inherited_state_of(&self, command: Command) -> (String, Outcome) {
        let _ = fs::remove_file(self.file("state"));
        let outcome = self.run_command(command);
        let state = fs::read_to_string(self.file("state"));
        (state.unwrap_or_default(), outcome)
    }
}

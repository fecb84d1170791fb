//! The probe: a command that tells what it was given and what it hears, exactly. It is this very test binary, called
//! by the name `probe`, and does its work before Rust's runtime starts and reopens descriptors or touches signals.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, mem, ptr};

use rustix::net;

use crate::locks::status_field;
use crate::{Lab, Outcome};

#[used]
// SAFETY: the function has the type that the loader calls, and needs nothing that is not set up by then.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// The status of a probe that has heard all it was to hear: not one that anybody else uses.
pub const HEARD_ALL: i32 = 77;

/// The status of the first `me-only`, and of its stand-in here, when somebody else has the name.
pub const REFUSED: i32 = 4;

/// Makes the linker keep [`BEFORE_MAIN`].
pub(crate) fn link() {
    std::hint::black_box(&BEFORE_MAIN);
}

extern "C" fn before_main() {
    let Ok(words) = fs::read("/proc/self/cmdline") else {
        return;
    };
    let text = String::from_utf8_lossy(&words);
    let text: Vec<&str> = text.split('\0').collect();
    if Path::new(text[0]).file_name() != Some("probe".as_ref()) {
        return start_afresh();
    }
    // What follows the last NUL is no word.
    let status = match text[1..text.len() - 1] {
        ["words", file, ..] => fs::write(file, &words).map_or(1, |()| 0),
        ["world", file] => world(file),
        ["hear", count] => hear(count.parse().expect("a count")),
        ["alone", "hear", count] => {
            rustix::process::setsid().expect("not a leader");
            hear(count.parse().expect("a count"))
        }
        [how @ ("apart" | "as-su"), _, ..] => {
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            in_a_session(how, &words[2..words.len() - 1])
        }
        ["keep", kind, first, length, file] => {
            let [first, length] = [first, length].map(|number| number.parse().expect("a number"));
            crate::lock_holder::keep(kind, first, length, file)
        }
        ["attentive", how, file] => crate::interruptible::wait(how, file),
        ["beside", "hear", count] => beside(|| hear(count.parse().expect("a count"))),
        ["binds", shape, _, _, ..] => {
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            bind_and_execute(shape, words[3], &words[4..words.len() - 1])
        }
        _ => 2,
    };
    // SAFETY: nothing is left to run, and what was written is not buffered.
    unsafe { libc::_exit(status) }
}

/// Whoever runs the tests (a `make` with its job descriptors, a `nohup`) must not show through in what they measure.
fn start_afresh() {
    let descriptors = fs::read_dir("/proc/self/fd").expect("/proc");
    for descriptor in descriptors.map(|entry| entry.expect("an entry").file_name()) {
        let number: i32 = descriptor.to_string_lossy().parse().expect("a number");
        if number > 2 {
            // SAFETY: a flag of a descriptor; the one of this listing has it already.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    for signal in 1..=64 {
        // SAFETY: all zero is the default action, in room enough for any platform's structure. The C library's own
        // call would leave out 32 and 33, which its posix_spawn(3) is known to leave ignored.
        unsafe {
            let default = [0u64; 8];
            let old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8);
        }
    }
}

/// Writes what this process was given into a file.
fn world(file: &str) -> i32 {
    let mut world = String::new();
    let here = std::process::id();
    let mut descriptors: Vec<_> = fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| Some((path.clone(), fs::read_link(path).ok()?)))
        // The descriptor of this very listing.
        .filter(|(_, target)| *target != Path::new(&format!("/proc/{here}/fd")))
        .collect();
    descriptors.sort();
    for (path, target) in descriptors {
        let number = path.file_name().expect("a number");
        writeln!(world, "fd {} {}", number.display(), target.display()).expect("a string");
    }
    for field in [
        "SigPnd",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Umask",
        "Groups",
        "NoNewPrivs",
    ] {
        writeln!(world, "{field} {}", status_field(here as i32, field)).expect("a string");
    }
    let folder = fs::read_link("/proc/self/cwd").expect("cwd");
    writeln!(world, "cwd {}", folder.display()).expect("a string");
    let niceness = rustix::process::getpriority_process(None).expect("a niceness");
    writeln!(world, "nice {niceness}").expect("a string");
    // SAFETY: an itimerval is plain numbers, and the call fills it.
    let alarm = unsafe {
        let mut alarm: libc::itimerval = mem::zeroed();
        libc::getitimer(libc::ITIMER_REAL, &raw mut alarm);
        alarm.it_value
    };
    writeln!(world, "alarm {}", alarm.tv_sec != 0 || alarm.tv_usec != 0).expect("a string");
    world += &fs::read_to_string("/proc/self/limits").expect("limits");
    fs::write(file, world).expect("the report");
    0
}

/// Says `ready PID`, then every signal that comes: `heard NUMBER CODE VALUE`. Ends after so many.
fn hear(count: usize) -> i32 {
    let all = u64::MAX;
    // SAFETY: the kernel's own call with its own set: the C library's would leave out 32 and 33.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            ptr::null_mut::<u64>(),
            8,
        );
    }
    let say = |line: String| rustix::io::write(rustix::stdio::stdout(), line.as_bytes());
    say(format!("ready {}\n", std::process::id())).expect("a reader");
    for _ in 0..count {
        // A test that forgot the probe does not leave it behind for ever.
        let patience = libc::timespec {
            tv_sec: 120,
            tv_nsec: 0,
        };
        // SAFETY: the set, the room for the answer and the time outlive the call; 8 is the size of the set.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            let signal = libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const all,
                &raw mut info,
                &raw const patience,
                8,
            );
            (signal, info)
        };
        if signal < 0 {
            return 3;
        }
        // SAFETY: for the codes that carry no value these bytes are numbers too.
        let value = unsafe { info.si_value().sival_ptr } as usize;
        let value = if info.si_code == libc::SI_QUEUE {
            value
        } else {
            0
        };
        say(format!("heard {signal} {} {value}\n", info.si_code)).expect("a reader");
    }
    HEARD_ALL
}

/// Does the deed in a child, and waits for a signal to die of.
fn beside(deed: impl FnOnce() -> i32) -> i32 {
    // SAFETY: no other thread has been started yet.
    unsafe {
        if libc::fork() == 0 {
            return deed();
        }
        libc::pause()
    }
}

/// Takes an abstract socket name as others do, and executes a program in place, which inherits the socket. `original`
/// is what the first `me-only` does: 8 bytes of the name are all that it takes; like `padded` it binds a whole
/// `struct sockaddr_un`, filled up with NULs. `exact` is what Python, Perl and socat do.
fn bind_and_execute(shape: &str, name: &[u8], words: &[&[u8]]) -> i32 {
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
        return REFUSED;
    }
    // The socket is still open, and stays so when this succeeds.
    execute(words);
    1
}

/// Executes a program in a session of its own, `apart` in place, `as-su` in a child, as `su -c` does.
fn in_a_session(how: &str, words: &[&[u8]]) -> i32 {
    let child = match how {
        "apart" => 0,
        // SAFETY: no other thread has been started yet.
        _ => unsafe { libc::fork() },
    };
    if child != 0 {
        // SAFETY: nobody wants to know how it ended.
        unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
        return 0;
    }
    rustix::process::setsid().expect("not a leader");
    execute(words);
    1
}

/// Executes a program in place. Returns when it cannot.
fn execute(words: &[&[u8]]) {
    let words = words
        .iter()
        .map(|word| CString::new(*word).expect("cut at NUL"));
    let words: Vec<CString> = words.collect();
    let ends = [ptr::null()];
    let list: Vec<_> = words.iter().map(|word| word.as_ptr()).chain(ends).collect();
    // SAFETY: a list of strings that ends in null.
    unsafe { libc::execvp(list[0], list.as_ptr()) };
}

impl Lab {
    /// What a command that reports its world reported: the `probe world` among the words of the command writes it to
    /// the file `world`.
    #[track_caller]
    pub fn world_of(&self, command: std::process::Command) -> (String, Outcome) {
        let _ = fs::remove_file(self.file("world"));
        let outcome = self.finish(command);
        let world = fs::read_to_string(self.file("world"));
        (world.unwrap_or_default(), outcome)
    }
}

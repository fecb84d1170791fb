//! A stranger: a process of another user that does its worst to a lock file which it can read.

#![allow(unsafe_code, reason = "raw system calls")]

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use fdlock::lock::Mode;
use fdlock::lock::fair::marker::{ArrivalTime, Marker};
use fdlock::sys::ofd::{self, Blocking, Operation};
use rustix::process::{Pid, getpid};

use crate::pre_exec::check;
use crate::process::{Process, print};
use crate::test_env::TestEnv;

/// The user, if the tests run as root. Otherwise, the stranger is the same user.
const STRANGER: libc::uid_t = 65534;

/// Does what the scenario says, prints `ready`, and keeps it up until stdin is closed.
pub(crate) fn harass(scenario: &str, argument: i64, file: &str) -> i32 {
    let file = File::open(file).expect("the file can be opened");
    become_stranger().expect("another user");
    let fd = file.as_raw_fd();
    let pid = |id: i64| Pid::from_raw(id as i32).unwrap_or_else(getpid);
    let done = match scenario {
        // From the end, because the kernel searches the list from its start.
        "byte-locks" => (1..=argument)
            .rev()
            .try_for_each(|byte| lock_byte(fd, 2 * byte)),
        "markers" => mark(fd, pid(argument), 1000),
        "named-markers" => set_sentinel_name().and_then(|()| mark(fd, pid(argument), 1000)),
        "marked-holder" => set_sentinel_name()
            .and_then(|()| mark(fd, getpid(), 1))
            .and_then(|()| lock(fd)),
        "command-line" => lock(fd).and_then(|()| grow_command_line(argument as usize)),
        "own-table" => {
            std::thread::scope(|scope| {
                let hold = move || {
                    check(unshare_files()).expect("descriptors of its own");
                    let other = File::open(format!("/proc/self/fd/{fd}")).expect("the file");
                    lock(other.as_raw_fd()).expect("the lock is free");
                    wait_for_stdin()
                };
                scope.spawn(hold);
            });
            return 0;
        }
        "mapped" => lock(fd).and_then(|()| map(fd)),
        "slow-owner" => set_ticket_of_slow_owner(fd, argument as usize),
        "torn-table" => return tear_table(fd, argument),
        "changing-table" => return change_table(fd),
        "storm" => return storm(fd, argument),
        _ => return 2,
    };
    done.expect("the kernel permits it");
    if scenario == "mapped" {
        drop(file);
    }
    wait_for_stdin()
}

/// Places a marker that names a child of another process, which has 500 descriptors with this many
/// locks each, but not the marker.
fn set_ticket_of_slow_owner(fd: RawFd, locks: usize) -> io::Result<()> {
    let (mut ready, owner_ready) =
        rustix::pipe::pipe().map(|(one, other)| (File::from(one), other))?;
    // SAFETY: this process has one thread.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: takes numbers.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(fd);
        }
        let file = own_file()?;
        let bytes = (1..=locks as i64).rev();
        bytes
            .map(|byte| 2 * byte)
            .try_for_each(|byte| lock_byte(file.as_raw_fd(), byte))?;
        let _copies: Vec<File> = (0..499)
            .map(|_| file.try_clone())
            .collect::<Result<_, _>>()?;
        // SAFETY: as above.
        let sentinel = unsafe { libc::fork() };
        if sentinel == 0 {
            set_sentinel_name()?;
            // SAFETY: takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            rustix::io::write(&owner_ready, &std::process::id().to_ne_bytes())?;
        }
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    let mut sentinel = [0; 4];
    ready.read_exact(&mut sentinel)?;
    let pid = Pid::from_raw(i32::from_ne_bytes(sentinel)).expect("not zero");
    mark(fd, pid, 1)
}

/// How many processes wait for a lock, so that its lines in the kernel's table take more than a page.
pub const MANY_WAITERS: usize = 80;

/// Holds the lock in a thread with descriptors of its own. In the kernel's table, the lock and its
/// many waiters come after a number of equal lines.
fn tear_table(fd: RawFd, count: i64) -> i32 {
    use_one_processor().expect("a processor");
    let file = own_file().expect("a file");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            check(unshare_files()).expect("descriptors of its own");
            let other = File::open(format!("/proc/self/fd/{fd}")).expect("the file");
            lock(other.as_raw_fd()).expect("the lock is free");
            start_waiters(fd);
            let equal: Vec<File> = (0..count).map(|_| reopen(&file)).collect();
            for file in &equal {
                lock_byte(file.as_raw_fd(), 0).expect("a lock");
            }
            wait_for_stdin()
        });
    });
    0
}

/// Holds the lock, and acquires and releases another one without pause. In the kernel's table, that
/// one comes first.
fn change_table(fd: RawFd) -> i32 {
    use_one_processor().expect("a processor");
    lock(fd).expect("the lock is free");
    start_waiters(fd);
    let other = own_file().expect("a file");
    print("ready\n");
    while !is_stdin_closed() {
        for operation in [Operation::Read, Operation::Unlock] {
            set_byte(other.as_raw_fd(), 0, operation).expect("no conflict");
        }
    }
    0
}

/// The kernel has a list of locks for each processor, with the last lock first.
fn use_one_processor() -> io::Result<()> {
    // SAFETY: all zeroes is an empty set, which has room for the number of any processor.
    check(unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) == 0
    })
}

fn own_file() -> io::Result<File> {
    let file = rustix::fs::memfd_create("stranger", rustix::fs::MemfdFlags::empty())?;
    Ok(File::from(file))
}

fn reopen(file: &File) -> File {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("a file")
}

/// Starts processes that wait for the lock, and die with this thread.
fn start_waiters(fd: RawFd) {
    for _ in 0..MANY_WAITERS {
        // SAFETY: the child only opens a file and waits.
        unsafe {
            if libc::fork() == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let file = File::open(format!("/proc/self/fd/{fd}")).expect("the file");
                libc::syscall(libc::SYS_close_range, 0, file.as_raw_fd() - 1, 0);
                libc::flock(file.as_raw_fd(), libc::LOCK_EX);
                libc::_exit(0);
            }
        }
    }
}

/// Sets and removes random markers and byte locks, with the name of a sentinel, until stdin is
/// closed. They name process 1, this process, a child that is stopped, processes that do not exist,
/// and the process with this PID. Never locks the whole file.
fn storm(fd: RawFd, named: i64) -> i32 {
    set_sentinel_name().expect("a name");
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: takes numbers.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::raise(libc::SIGSTOP);
            libc::_exit(0)
        }
    }
    print("ready\n");
    let mut rng = fastrand::Rng::with_seed(named as u64);
    let pids = [
        1,
        getpid().as_raw_nonzero().get().into(),
        child.into(),
        4_194_303,
        named,
    ];
    let mut set: Vec<i64> = Vec::new();
    while !is_stdin_closed() {
        let pid = pids[rng.usize(..pids.len())];
        let pid = Pid::from_raw(pid as i32).unwrap_or_else(getpid);
        let mut arrived = ArrivalTime::now();
        (0..rng.u8(..)).for_each(|_| arrived = arrived.next());
        let byte = match rng.u8(..4) {
            0 => rng.i64(..1 << 20),
            1 => Marker::Slot { arrived, pid }.offset(),
            _ => {
                let mode = if rng.bool() {
                    Mode::Shared
                } else {
                    Mode::Exclusive
                };
                Marker::Ticket { arrived, mode, pid }.offset()
            }
        };
        if set_byte(fd, byte, Operation::Read).is_ok() {
            set.push(byte);
        }
        if set.len() > 2000 {
            let index = rng.usize(..set.len());
            let _ = set_byte(fd, set.swap_remove(index), Operation::Unlock);
        }
    }
    0
}

fn is_stdin_closed() -> bool {
    let mut stdin = [libc::pollfd {
        fd: 0,
        events: libc::POLLIN,
        revents: 0,
    }];
    // SAFETY: one descriptor, and no wait.
    unsafe { libc::poll(stdin.as_mut_ptr(), 1, 0) != 0 }
}

fn wait_for_stdin() -> i32 {
    print("ready\n");
    let _ = io::stdin().read(&mut [0; 1]);
    0
}

fn become_stranger() -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // SAFETY: takes numbers, and no groups.
    check(unsafe {
        libc::setgroups(0, ptr::null()) == 0
            && libc::setresgid(STRANGER, STRANGER, STRANGER) == 0
            && libc::setresuid(STRANGER, STRANGER, STRANGER) == 0
            && libc::prctl(libc::PR_SET_DUMPABLE, 1) == 0
    })
}

fn set_sentinel_name() -> io::Result<()> {
    // SAFETY: takes a NUL-terminated string.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, c"flock-queue".as_ptr()) == 0 })
}

fn lock(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) == 0 })
}

fn lock_byte(fd: RawFd, byte: i64) -> io::Result<()> {
    set_byte(fd, byte, Operation::Read)
}

fn set_byte(fd: RawFd, byte: i64, operation: Operation) -> io::Result<()> {
    // SAFETY: the file stays open while the stranger does its work.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(ofd::set(fd, operation, byte, 1, Blocking::No)?)
}

/// Places markers of tickets that name this process.
fn mark(fd: RawFd, pid: Pid, count: usize) -> io::Result<()> {
    let mode = Mode::Exclusive;
    let mut arrived = ArrivalTime::now();
    (0..count).try_for_each(|_| {
        arrived = arrived.next();
        lock_byte(fd, Marker::Ticket { arrived, mode, pid }.offset())
    })
}

fn unshare_files() -> bool {
    // SAFETY: takes a number.
    unsafe { libc::unshare(libc::CLONE_FILES) == 0 }
}

/// Maps the file, which keeps it open.
fn map(fd: RawFd) -> io::Result<()> {
    // SAFETY: the mapping is not used.
    let start = unsafe { libc::mmap(ptr::null_mut(), 1, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
    check(start != libc::MAP_FAILED)
}

/// Gives this process a command line of this many bytes.
fn grow_command_line(size: usize) -> io::Result<()> {
    /// `PR_SET_MM_MAP` and its structure, `prctl_mm_map`.
    const PR_SET_MM_MAP: libc::c_int = 14;
    #[repr(C)]
    struct Map {
        /// The start and the end of code and data, the start and the end of the heap, the start of
        /// the stack, then the start and the end of the arguments and of the environment.
        addresses: [u64; 11],
        /// A pointer, as large as the kernel's, which need not be that of this process.
        auxv: u64,
        auxv_size: u32,
        exe_fd: u32,
    }
    // SAFETY: a new mapping that takes no memory; the kernel chooses the address.
    let start = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(ptr::null_mut(), size, libc::PROT_READ, flags, -1, 0)
    };
    check(start != libc::MAP_FAILED)?;
    let start = start as u64;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<u64> = fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // The first one is field 3.
    let field = |number: usize| fields[number - 3];
    // SAFETY: takes a number.
    let heap_end = unsafe { libc::sbrk(0) } as u64;
    let end = start + size as u64;
    let map = Map {
        addresses: [
            field(26),
            field(27),
            field(45),
            field(46),
            field(47),
            heap_end,
            field(28),
            start,
            end,
            field(50),
            field(51),
        ],
        auxv: 0,
        auxv_size: 0,
        exe_fd: u32::MAX,
    };
    // SAFETY: the structure outlives the call.
    check(unsafe {
        let (map, size) = (&raw const map, mem::size_of::<Map>());
        libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, map, size, 0) == 0
    })
}

/// Runs a command, and prints on standard error how much memory it used at most, in kB. Returns its
/// status.
pub(crate) fn measure(arguments: &[&[u8]]) -> i32 {
    use std::os::unix::ffi::OsStrExt;
    let mut arguments = arguments
        .iter()
        .map(|argument| std::ffi::OsStr::from_bytes(argument));
    let program = arguments.next().expect("a program");
    let child = std::process::Command::new(program).args(arguments).spawn();
    let pid = child.expect("a command").id() as libc::pid_t;
    // SAFETY: all zeroes is a valid `rusage`, and the call takes pointers to what outlives it.
    let (status, usage) = unsafe {
        let (mut status, mut usage) = (0, mem::zeroed::<libc::rusage>());
        libc::wait4(pid, &raw mut status, 0, &raw mut usage);
        (status, usage)
    };
    eprintln!("used {}", usage.ru_maxrss);
    libc::WEXITSTATUS(status)
}

impl TestEnv {
    /// Starts a stranger, and waits until it is ready.
    #[track_caller]
    pub fn start_stranger(&self, scenario: &str, argument: i64, file: &str) -> Process {
        let mut helper = self.command("test-helper");
        helper.args(["harass", scenario, &argument.to_string(), file]);
        let mut stranger = self.start(helper);
        stranger.expect_line("ready");
        stranger
    }
}

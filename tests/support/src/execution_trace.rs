//! The functions that a program executes, recorded by executing it one instruction at a time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// A function of a program that is not stripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its mangled names: more than one if the compiler has merged equal functions, or if the C
    /// library has aliases.
    pub names: Vec<String>,
    /// The name of the section that it is in.
    pub section: String,
}

/// What a process and the children that it creates execute until they execute another program.
#[derive(Debug)]
pub struct ExecutionTrace {
    /// The functions, in the order in which they are first executed.
    pub functions: Vec<Function>,
    /// The number of instructions of the first process, in user mode.
    pub instructions: u64,
}

impl ExecutionTrace {
    /// Runs a static program at a fixed address. Returns `None` where that is not permitted.
    ///
    /// # Panics
    ///
    /// If the program has no symbols, or tracing fails after it has started.
    pub fn record(
        program: &Path,
        args: &[impl AsRef<OsStr>],
        prepare: impl FnOnce(&mut Command),
    ) -> Option<Self> {
        let image = std::fs::read(program).expect("a program");
        let image = object::File::parse(&*image).expect("an ELF file");
        let (functions, end) = functions(&image);
        let mut recorder = Recorder {
            root: start(program, args, prepare)?,
            functions,
            end,
            executed: Vec::new(),
            instructions: 0,
        };
        recorder.run();
        let function = |index: usize| recorder.functions[index].1.clone();
        Some(Self {
            functions: recorder.executed.iter().copied().map(function).collect(),
            instructions: recorder.instructions,
        })
    }
}

/// Starts a program, and stops it before its first instruction.
fn start(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    prepare: impl FnOnce(&mut Command),
) -> Option<Pid> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", r#"kill -STOP $$; exec "$0" "$@""#])
        .arg(program)
        .args(args);
    prepare(&mut command);
    #[expect(clippy::zombie_processes, reason = "waitpid returns the status")]
    let child = command.spawn().expect("a shell");
    let pid = Pid::from_raw(child.id() as i32);
    let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("a child");
    assert_eq!(status, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    let options = Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_EXITKILL;
    let is_traced = ptrace::seize(pid, options).is_ok();
    kill(pid, Signal::SIGCONT).expect("a child");
    if !is_traced {
        waitpid(pid, None).expect("a child");
        return None;
    }
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("a child") {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => return Some(pid),
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => ptrace::cont(
                pid,
                Some(signal).filter(|signal| *signal != Signal::SIGCONT),
            ),
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => ptrace::cont(pid, None),
            status => panic!("{status:?} before the program was executed"),
        }
        .expect("a stopped child");
    }
}

/// The functions of a program by address, and those executed.
struct Recorder {
    root: Pid,
    /// Start address and function, in the order of addresses.
    functions: Vec<(u64, Function)>,
    end: u64,
    /// The indices of the executed functions.
    executed: Vec<usize>,
    instructions: u64,
}

impl Recorder {
    /// Executes instructions until the first process has exited or executes another program.
    fn run(&mut self) {
        self.step(self.root, None);
        loop {
            // Not the children of other threads.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(Pid::from_raw(-1), Some(flags)).expect("a child") {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                    if pid == self.root {
                        return;
                    }
                }
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                    ptrace::detach(pid, None).expect("a stopped child");
                    if pid == self.root {
                        waitpid(pid, None).expect("a child");
                        return;
                    }
                }
                WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                    self.note(pid);
                    self.step(pid, None);
                }
                WaitStatus::Stopped(pid, signal) => self.step(pid, Some(signal)),
                WaitStatus::PtraceEvent(pid, ..) => self.step(pid, None),
                status => panic!("{status:?} while instructions are executed"),
            }
        }
    }

    fn step(&self, pid: Pid, signal: Option<Signal>) {
        match ptrace::step(pid, signal) {
            // It was killed, as waitpid reports next.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => panic!("cannot continue {pid}: {errno}"),
        }
    }

    fn note(&mut self, pid: Pid) {
        self.instructions += u64::from(pid == self.root);
        let Ok(registers) = ptrace::getregs(pid) else {
            return;
        };
        let address = registers.rip;
        let index = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        // The kernel's vDSO lies elsewhere.
        if index > 0 && address < self.end && !self.executed.contains(&(index - 1)) {
            self.executed.push(index - 1);
        }
    }
}

/// Returns the functions of a program, in the order of addresses, and the end of the last one.
fn functions(image: &object::File<'_>) -> (Vec<(u64, Function)>, u64) {
    let mut functions = BTreeMap::new();
    let mut end = 0;
    for symbol in image.symbols() {
        let section = symbol
            .section_index()
            .and_then(|index| image.section_by_index(index).ok());
        let Some(section) = section.filter(|section| section.kind() == SectionKind::Text) else {
            continue;
        };
        // Functions in assembly language have no type.
        if !matches!(
            symbol.kind(),
            SymbolKind::Text | SymbolKind::Unknown | SymbolKind::Label
        ) {
            continue;
        }
        end = end.max(section.address() + section.size());
        let name = symbol.name().unwrap_or_default().to_owned();
        let function = functions
            .entry(symbol.address())
            .or_insert_with(|| Function {
                names: Vec::new(),
                section: section.name().unwrap_or_default().to_owned(),
            });
        function.names.push(name);
    }
    (functions.into_iter().collect(), end)
}

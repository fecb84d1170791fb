//! The memory of a waiter, the instructions of a call, and the link order that keeps both few.
//!
//! The tests examine the static program that `make` installs. `scripts/order.ld` names functions,
//! and the linker silently ignores a name that it does not find: renaming a module would scatter
//! the code that calls use, and each call and each waiter would take more.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SegmentFlags, elf};
use rstest::rstest;
use test_support::locks::{slots, waiter_count};
use test_support::procfs::{has_pidfd_of, is_asleep, status_field};
use test_support::{TestEnv, wait_until};

/// The most memory that a waiter may have resident, in kB.
const MAX_WAITER_KB: u64 = 250;

/// Returns the patterns of the link order, which select input sections. These are named after their
/// symbols.
fn patterns() -> Vec<&'static str> {
    include_str!("../../scripts/order.ld")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("*(.text.")?.strip_suffix(')'))
        .collect()
}

/// Whether a symbol matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, symbol: &str) -> bool {
    let Some((start, pattern)) = pattern.split_once('*') else {
        return symbol == pattern;
    };
    symbol.strip_prefix(start).is_some_and(|rest| {
        let mut ends = (0..=rest.len()).filter_map(|skipped| rest.get(skipped..));
        ends.any(|end| matches(pattern, end))
    })
}

/// The sections that the link order fills: with the code of `flock -n 8`, and with that of other
/// frequent calls.
const ORDERED: [&str; 2] = [".text.first", ".text.next"];

/// Returns the symbols in the sections that the link order fills.
fn ordered_symbols(program: &Path) -> Vec<String> {
    let bytes = std::fs::read(program).expect("an unstripped program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let sections = ORDERED.map(|name| {
        let section = file.section_by_name(name);
        Some(section.expect("a section for frequent calls").index())
    });
    file.symbols()
        .filter(|symbol| sections.contains(&symbol.section_index()))
        .filter_map(|symbol| Some(symbol.name().ok()?.to_owned()))
        .collect()
}

/// Whether a program runs without a dynamic loader.
fn is_static(program: &Path) -> bool {
    !has_section(program, ".interp")
}

fn has_section(program: &Path, name: &str) -> bool {
    let bytes = std::fs::read(program).expect("a program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    file.section_by_name(name).is_some()
}

/// Returns the static program with its symbols, if there is one.
fn unstripped_program() -> Option<PathBuf> {
    let program = std::env::var_os("FLOCK_UNSTRIPPED").map(PathBuf::from);
    let program = program.filter(|program| is_static(program));
    if program.is_none() {
        println!("skipped: FLOCK_UNSTRIPPED does not name a static program");
    }
    program
}

#[test]
fn most_link_order_patterns_match_a_symbol() {
    let Some(program) = unstripped_program() else {
        return;
    };
    let symbols = ordered_symbols(&program);
    let patterns = patterns();
    let is_unmatched = |pattern: &&str| !symbols.iter().any(|symbol| matches(pattern, symbol));
    let unmatched: Vec<&str> = patterns.iter().copied().filter(is_unmatched).collect();
    // Which functions there are depends on the version of the compiler.
    let is_stale = unmatched.len() * 10 > patterns.len();
    assert!(
        !is_stale,
        "run `make link-order`: no symbol matches {unmatched:#?}"
    );
    // Symbols that show that the patterns which select whole files still match.
    for (pattern, symbol) in [("*crt*.o", "_start"), ("*libc.a:*", "memcpy")] {
        let found = symbols.iter().any(|name| name == symbol);
        assert!(found, "{symbol} is not where {pattern} puts it");
    }
}

#[test]
fn code_that_locks_a_descriptor_is_in_one_piece() {
    let Some(program) = unstripped_program() else {
        return;
    };
    let bytes = std::fs::read(program).expect("a program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let section = file.section_by_name(ORDERED[0]).expect("a section");
    // The kernel maps a program in pieces of 64 kB, and the option table follows.
    let (piece, tables) = (64 << 10, 20 << 10);
    let end = section.address() + section.size();
    assert!(end % piece + tables <= piece, "it ends at {end:#x}");
}

#[test]
fn no_memory_is_writable_and_executable() {
    let Some(program) = unstripped_program() else {
        return;
    };
    let bytes = std::fs::read(program).expect("a program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let flags: Vec<SegmentFlags> = file.segments().map(|segment| segment.flags()).collect();
    assert!(!flags.is_empty());
    for flags in flags {
        let SegmentFlags::Elf { p_flags, .. } = flags else {
            panic!("{flags:?}");
        };
        let both = elf::PF_W | elf::PF_X;
        assert_ne!(p_flags & both, both);
    }
}

#[cfg(target_arch = "x86_64")]
mod executed {
    use test_support::execution_trace::{ExecutionTrace, Function};

    use super::*;

    /// The most instructions that `flock -n 8` may execute.
    const MAX_INSTRUCTIONS: u64 = 6000;

    fn record(program: &Path, args: &[&str]) -> Option<ExecutionTrace> {
        let env = TestEnv::new();
        let file = std::fs::File::create(env.file("l")).expect("a file");
        let trace = ExecutionTrace::record(program, args, |command| {
            command.current_dir(env.file(".")).stdin(file);
            command.env_clear().env("PATH", "/usr/bin:/bin");
        });
        if trace.is_none() {
            println!("skipped: ptrace(2) is not permitted here");
        }
        trace
    }

    #[rstest]
    #[case::descriptor(&["-n", "0"])]
    #[case::command(&["l", "true"])]
    #[case::exec(&["-F", "l", "true"])]
    #[case::queue(&["--fair", "l", "true"])]
    fn code_of_frequent_calls_is_side_by_side(#[case] args: &[&str]) {
        let Some(program) = unstripped_program() else {
            return;
        };
        let Some(trace) = record(&program, args) else {
            return;
        };
        let elsewhere = |function: &&Function| !ORDERED.contains(&&*function.section);
        let elsewhere: Vec<&Function> = trace.functions.iter().filter(elsewhere).collect();
        // Which functions there are depends on the version of the compiler.
        let is_stale = elsewhere.len() * 20 > trace.functions.len();
        assert!(
            !is_stale,
            "run `make link-order`: elsewhere are {elsewhere:#?}"
        );
    }

    #[test]
    fn locking_a_descriptor_takes_few_instructions() {
        let Some(program) = unstripped_program() else {
            return;
        };
        if let Some(trace) = record(&program, &["-n", "0"]) {
            let count = trace.instructions;
            assert!(count <= MAX_INSTRUCTIONS, "{count} instructions");
        }
    }
}

#[rstest]
#[case::plain(&[])]
#[case::time_limit(&["-w", "60"])]
#[case::fair(&["--fair", "-w", "60"])]
#[case::places(&["--queue", "1"])]
#[case::slots(&["--slots", "1"])]
fn waiter_stays_within_its_memory_limit(#[case] options: &[&str]) {
    let env = TestEnv::new();
    if cfg!(not(target_pointer_width = "64")) {
        println!("skipped: the limit is for 64-bit programs");
        return;
    }
    let program = env.file("bin/flock");
    // Where musl is the C library, the development build is static, too.
    if !is_static(&program) || has_section(&program, ".debug_info") {
        println!("skipped: not a static program as it is installed");
        return;
    }
    let holder = env.hold(options, "l");
    let args = options.iter().chain(&["l", "true"]);
    let mut waiter = env.flock(args).spawn().expect("flock starts");
    let pid = waiter.id() as i32;
    wait_until("flock waits", || {
        let slots = slots(env.file("l"));
        let waits_for_slot = slots.iter().any(|slot| has_pidfd_of(pid, slot.pid));
        (waits_for_slot || waiter_count(env.file("l")) == 1) && is_asleep(pid)
    });
    // wait4(2) would include the memory of the process before it executed flock.
    let peak = status_field(pid, "VmHWM");
    holder.release();
    assert!(waiter.wait().expect("a child").success());
    let peak: u64 = peak.trim_end_matches(" kB").parse().expect("kilobytes");
    assert!(peak <= MAX_WAITER_KB, "a waiter takes {peak} kB");
}

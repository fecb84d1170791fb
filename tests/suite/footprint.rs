//! The memory of a waiter, and the link order that keeps it small.
//!
//! Both tests examine the static program that `make` installs. `scripts/order.ld` names code by
//! parts of mangled symbols, and a pattern that matches nothing is silently ignored by the linker:
//! renaming a module would scatter the code that every waiter runs, and each waiter would grow.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};

use test_support::locks::waiter_count;
use test_support::procfs::status_field;
use test_support::{TestEnv, wait_until};

/// The most memory that a waiter may have resident, in kB.
const MAX_WAITER_KB: u64 = 400;

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

/// Returns the symbols in the section that the link order fills.
fn ordered_symbols(program: &Path) -> Vec<String> {
    let bytes = std::fs::read(program).expect("an unstripped program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let section = file
        .section_by_name(".text.first")
        .expect("a section for the code that every waiter runs");
    file.symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()))
        .filter_map(|symbol| Some(symbol.name().ok()?.to_owned()))
        .collect()
}

/// Whether a program runs without a dynamic loader.
fn is_static(program: &Path) -> bool {
    let bytes = std::fs::read(program).expect("a program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    file.section_by_name(".interp").is_none()
}

#[test]
fn every_link_order_pattern_matches_a_symbol() {
    let unstripped = std::env::var_os("FLOCK_UNSTRIPPED").map(PathBuf::from);
    let Some(program) = unstripped.filter(|program| is_static(program)) else {
        println!("skipped: FLOCK_UNSTRIPPED does not name a static program");
        return;
    };
    let symbols = ordered_symbols(&program);
    let unmatched: Vec<&str> = patterns()
        .into_iter()
        .filter(|pattern| !symbols.iter().any(|symbol| matches(pattern, symbol)))
        .collect();
    assert!(unmatched.is_empty(), "no symbol matches {unmatched:#?}");
    // Symbols that show that the patterns which select whole files still match.
    for (pattern, symbol) in [("*crt*.o", "_start"), ("*libc.a:*", "__libc_start_main")] {
        let found = symbols.iter().any(|name| name == symbol);
        assert!(found, "{symbol} is not where {pattern} puts it");
    }
}

#[test]
fn waiter_stays_within_its_memory_limit() {
    let env = TestEnv::new();
    if !is_static(&env.file("bin/flock")) {
        println!("skipped: not a static program");
        return;
    }
    let holder = env.hold(&[], "l");
    let mut waiter = env.flock(["l", "true"]).spawn().expect("flock starts");
    let pid = waiter.id() as i32;
    wait_until("flock waits", || waiter_count(env.file("l")) == 1);
    // wait4(2) would include the memory of the process before it executed flock.
    let peak = status_field(pid, "VmHWM");
    holder.release();
    assert!(waiter.wait().expect("a child").success());
    let peak: u64 = peak.trim_end_matches(" kB").parse().expect("kilobytes");
    assert!(peak <= MAX_WAITER_KB, "a waiter takes {peak} kB");
}

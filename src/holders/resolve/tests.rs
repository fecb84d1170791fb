use super::*;
use crate::lock::fair::marker::Moment;

const OWN: i32 = 1;

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("a number")
}

fn lines(text: &[&str]) -> Vec<Line> {
    let with_file = |line: &&str| {
        let (ahead, range) = line.split_once(" @ ").expect("a range");
        format!("1: {ahead} fe:00:99 {range}")
    };
    let line = |line: &&str| Line::parse(with_file(line).as_bytes()).expect("a lock");
    text.iter().map(line).collect()
}

fn line(text: &str) -> Line {
    lines(&[text])[0]
}

/// A lock of flock(2) that this process has taken, or asks for.
fn flock(ahead: &str, mode: &str, taker: i32) -> Line {
    line(&format!("{ahead}FLOCK ADVISORY {mode} {taker} @ 0 EOF"))
}

/// A process that can be looked into, and its locks.
fn scan(processes: &[(i32, &[Line])]) -> Scan {
    let mut scan = Scan::default();
    for (number, lines) in processes {
        scan.open.push(pid(*number));
        scan.seen
            .extend(lines.iter().map(|line| super::super::scan::Seen {
                pid: pid(*number),
                inner: Some(pid(*number)),
                line: *line,
            }));
    }
    scan
}

/// Every process is the child of the one whose number is ten less; those below 100 live.
fn asked_by(asker: Asker, table: &[Line], scan: &Scan) -> Vec<Party> {
    parties(&Evidence {
        table,
        scan,
        asker: (asker, pid(OWN)),
        parent: &|child| Pid::from_raw((child.as_raw_nonzero().get() - 10).max(0)),
        lives: &|pid| pid.as_raw_nonzero().get() < 100,
    })
}

/// Role, number, and whether that is sure.
type Told = (Role, Option<i32>, Certainty);

fn told(table: &[Line], scan: &Scan) -> Vec<Told> {
    let parties = asked_by(Asker::Process, table, scan);
    let number = |party: &Party| party.pid.map(|pid| pid.as_raw_nonzero().get());
    parties
        .iter()
        .map(|party| (party.role, number(party), party.certainty))
        .collect()
}

fn holder(number: i32) -> Told {
    (Role::Holder, Some(number), Certainty::Verified)
}

fn waiter(number: i32) -> Told {
    (Role::Waiter, Some(number), Certainty::Verified)
}

const UNKNOWN: Told = (Role::Holder, None, Certainty::Unverified);

#[test]
fn who_has_it_open_holds_it_whoever_took_it() {
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(2, &[lock]), (3, &[lock, lock]), (4, &[])]);
    assert_eq!(told(&[lock], &scan), [holder(2), holder(3)]);
}

#[test]
fn a_taker_who_cannot_be_looked_into_is_named_but_not_sworn_to() {
    let lock = flock("", "WRITE", 50);
    let unverified = (Role::Holder, Some(50), Certainty::Unverified);
    assert_eq!(told(&[lock], &scan(&[(4, &[])])), [unverified]);
}

#[test]
fn a_taker_who_is_dead_or_has_it_no_more_is_not_named() {
    let scan = scan(&[(50, &[])]);
    assert_eq!(told(&[flock("", "WRITE", 200)], &scan), [UNKNOWN]);
    assert_eq!(told(&[flock("", "WRITE", 50)], &scan), [UNKNOWN]);
}

#[test]
fn of_locks_that_look_alike_none_is_lost() {
    let lock = line("OFDLCK ADVISORY READ -1 @ 0 EOF");
    let scan = scan(&[(2, &[lock])]);
    assert_eq!(told(&[lock], &scan), [holder(2)]);
    assert_eq!(
        told(&[lock, lock, lock], &scan),
        [holder(2), UNKNOWN, UNKNOWN]
    );
}

#[test]
fn a_lock_that_the_table_does_not_show_is_there_all_the_same() {
    assert_eq!(
        told(&[], &scan(&[(2, &[flock("", "READ", 0)])])),
        [holder(2)]
    );
}

#[test]
fn the_one_who_asks_is_not_listed_but_a_shell_is() {
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(OWN, &[lock]), (12, &[lock])]);
    let askers = |asker| asked_by(asker, &[lock], &scan).len();
    assert_eq!(askers(Asker::Process), 1);
    assert_eq!(askers(Asker::Shell), 2);
    assert_eq!(askers(Asker::Subshell), 2, "its shell has it not");
}

#[test]
fn a_subshell_is_not_listed_beside_its_shell() {
    let lock = flock("", "WRITE", 200);
    let shell = scan(&[(OWN, &[lock]), (60, &[lock])]);
    let parties = parties(&Evidence {
        table: &[lock],
        scan: &shell,
        asker: (Asker::Subshell, pid(OWN)),
        parent: &|_| Some(pid(60)),
        lives: &|_| true,
    });
    assert_eq!(parties.len(), 1);
    assert_eq!(parties[0].pid, Some(pid(60)));
}

#[test]
fn those_who_wait_are_named_by_the_kernel() {
    let table = [
        flock("", "WRITE", 2),
        flock("-> ", "WRITE", 3),
        flock(" -> ", "READ", 4),
        line("-> POSIX ADVISORY WRITE 5 @ 0 EOF"),
        flock("-> ", "WRITE", 0),
    ];
    let scan = scan(&[(2, &table[..1])]);
    let somebody = (Role::Waiter, None, Certainty::Unverified);
    assert_eq!(
        told(&table, &scan),
        [holder(2), waiter(3), waiter(4), waiter(5), somebody]
    );
}

#[test]
fn those_who_wait_for_an_open_file_description_lock_are_named_by_their_calls() {
    let held = line("OFDLCK ADVISORY WRITE -1 @ 0 EOF");
    let wish = |mode: &str, range: &str| line(&format!("-> OFDLCK ADVISORY {mode} -1 @ {range}"));
    let mut scan = scan(&[(2, &[held])]);
    let call = Blocked::Ofd { fd: 3 };
    scan.waiting.push(Waiting { pid: pid(7), call });
    let somebody = (Role::Waiter, None, Certainty::Unverified);
    let one = wish("READ", "5 9");
    assert_eq!(told(&[held, one], &scan), [holder(2), waiter(7)]);
    assert_eq!(
        told(&[held, one, one], &scan),
        [holder(2), waiter(7), somebody]
    );
    let range = |table: &[Line]| asked_by(Asker::Process, table, &scan)[1].range;
    let known = Range {
        first: 5,
        last: Some(9),
    };
    assert_eq!(range(&[held, one, one]), Some(known));
    assert_eq!(
        range(&[held, wish("READ", "6 9"), one]),
        None,
        "it may be either"
    );
}

#[test]
fn calls_tell_where_the_table_does_not() {
    let lock = flock("", "WRITE", 0);
    let mut scan = scan(&[(2, &[lock])]);
    for (number, call) in [
        (
            7,
            Blocked::Flock {
                fd: 3,
                shared: true,
            },
        ),
        (8, Blocked::Posix { fd: 3 }),
    ] {
        scan.waiting.push(Waiting {
            pid: pid(number),
            call,
        });
    }
    let table = [flock("-> ", "READ", 7)];
    assert_eq!(told(&table, &scan), [holder(2), waiter(7), waiter(8)]);
}

/// A turn of a process that another one stands for.
fn turn(token: i32) -> Line {
    let mark = Mark::Turn {
        since: Moment::now(),
        mode: Mode::Shared,
        pid: pid(token),
    };
    let byte = mark.byte();
    line(&format!("OFDLCK ADVISORY READ -1 @ {byte} {byte}"))
}

#[test]
fn who_waits_for_his_turn_is_a_waiter_and_no_holder() {
    let turn = turn(30);
    let scan = scan(&[(20, &[turn])]);
    assert_eq!(told(&[turn], &scan), [waiter(20)]);
    let party = asked_by(Asker::Process, &[turn], &scan)[0];
    assert_eq!((party.kind, party.mode), (Kind::Flock, Some(Mode::Shared)));
    assert!(party.since.is_some() && party.range.is_none());
}

#[test]
fn who_only_stands_for_another_is_never_listed() {
    let turn = turn(30);
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(30, &[turn, lock])]);
    let table = [turn, lock, flock("-> ", "WRITE", 30)];
    assert_eq!(told(&table, &scan), [waiter(20)]);
}

#[test]
fn who_waits_for_his_turn_and_in_the_kernel_is_one() {
    let turn = turn(30);
    let table = [turn, flock("", "WRITE", 5), flock("-> ", "READ", 20)];
    let scan = scan(&[(5, &table[1..2]), (20, &[turn])]);
    assert_eq!(told(&table, &scan), [waiter(20), holder(5)]);
}

#[test]
fn a_turn_that_may_not_be_looked_at_is_that_of_the_parent_of_who_stands_for_it() {
    let unverified = (Role::Waiter, Some(20), Certainty::Unverified);
    let nobody = (Role::Waiter, None, Certainty::Unverified);
    assert_eq!(told(&[turn(30)], &scan(&[])), [unverified]);
    assert_eq!(told(&[turn(300)], &scan(&[])), [nobody]);
}

#[test]
fn a_slot_is_held_by_all_who_have_it_open() {
    let slot = |taker: i32| {
        let mark = Mark::Slot {
            since: Moment::now(),
            pid: pid(taker),
        };
        let byte = mark.byte();
        line(&format!("OFDLCK ADVISORY READ -1 @ {byte} {byte}"))
    };
    let (one, two, three) = (slot(2), slot(50), slot(300));
    let scan = scan(&[(2, &[one]), (3, &[one])]);
    let unverified = (Role::Holder, Some(50), Certainty::Unverified);
    assert_eq!(
        told(&[one, two, three], &scan),
        [holder(2), holder(3), unverified, UNKNOWN]
    );
    let parties = asked_by(Asker::Process, &[one, two, three], &scan);
    let is_slot = |party: &Party| party.kind == Kind::Slot && party.since.is_some();
    assert!(parties.iter().all(is_slot));
}

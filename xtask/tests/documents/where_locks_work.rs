//! The table of file systems lists what `make nfs` checks, and nothing else as tried.

use std::collections::BTreeSet;
use std::fs;

use xtask::document::absolute;

const NOT_TRIED: &str = "not tried";

fn read(path: &str) -> String {
    fs::read_to_string(absolute(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the rows of the table, without its heading, as cells.
fn rows() -> Vec<Vec<String>> {
    let page = read("docs/where-locks-work.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = |row: &str| {
        let cells = row.trim_matches(['|', ' ']).split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.skip(1).map(cells).collect()
}

/// Returns the name of the check that a row has in parentheses.
fn check_of(row: &[String]) -> Option<&str> {
    row[0].split_once("(`")?.1.strip_suffix("`)")
}

/// Returns the file systems that `make nfs` checks unless others are named.
fn checked() -> BTreeSet<String> {
    let script = read("tests/nfs/run.sh");
    let list = script.lines().find_map(|line| {
        let list = line.strip_prefix("CHECKS=${*:-")?;
        list.strip_suffix('}')
    });
    let list = list.expect("CHECKS=${*:-LIST}");
    list.split(' ').map(str::to_owned).collect()
}

#[test]
fn table_lists_file_systems_that_make_nfs_checks() {
    let rows = rows();
    let listed: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| check_of(row))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, checked());
    let script = read("tests/nfs/filesystems.sh");
    for kind in listed {
        let function = format!("\nmount_{kind}() {{");
        assert!(script.contains(&function), "no {}", function.trim());
    }
}

#[test]
fn rows_without_a_check_are_marked_as_not_tried() {
    let rows = rows();
    assert!(rows.len() > 3, "the table was found");
    for row in &rows {
        let is_checked = check_of(row).is_some();
        for cell in &row[1..] {
            assert_eq!(*cell != NOT_TRIED, is_checked, "{row:?}");
        }
    }
}

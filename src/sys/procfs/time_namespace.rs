//! `/proc/self/timens_offsets`: how far the clocks of a time namespace are ahead of the machine's.

use std::fs;
use std::sync::OnceLock;

/// Returns how many nanoseconds this process's `CLOCK_BOOTTIME` is ahead of that of the initial
/// time namespace. The result is remembered, because no process that waits for locks changes its
/// time namespace.
///
/// The file shows the offset of the namespace in which children are created. Before Linux 6.1, that
/// is not yet the namespace of a process that runs directly under `unshare --time`, without a child
/// in between: the clock that it reads is that of its parent, whose offset is not known. It is
/// assumed to be 0.
///
/// # References
///
/// time_namespaces(7).
pub fn boottime_offset() -> i128 {
    static OFFSET: OnceLock<i128> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        let namespace = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        match namespace("time") {
            // The inode of the initial namespace is `PROC_TIME_INIT_INO`.
            None => 0,
            Some(own) if own.as_os_str() == "time:[4026531834]" => 0,
            Some(own) if namespace("time_for_children").as_ref() != Some(&own) => 0,
            Some(_) => fs::read("/proc/self/timens_offsets")
                .ok()
                .and_then(|text| parse_boottime(&text))
                .unwrap_or(0),
        }
    })
}

/// Parses the line of the boot-time clock: its name, seconds and nanoseconds.
fn parse_boottime(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        // The first kernels with time namespaces print the number of the clock.
        let clock = fields.next()?;
        if !matches!(clock, "boottime" | "7") {
            return None;
        }
        let seconds: i64 = fields.next()?.parse().ok()?;
        let nanos: i64 = fields.next()?.parse().ok()?;
        Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_boot_time_clock_is_parsed() {
        let text = |line: &str| format!("monotonic           7         8\n{line}\n");
        let offset = |line| parse_boottime(text(line).as_bytes());
        assert_eq!(
            offset("boottime      1000000         0"),
            Some(10_i128.pow(15))
        );
        assert_eq!(
            offset("boottime           -5         1"),
            Some(-4_999_999_999)
        );
        assert_eq!(offset("boottime"), None);
        assert_eq!(parse_boottime(b"\xff"), None);
    }
}

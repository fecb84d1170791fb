//! When a message is printed that the wait goes on.

use std::time::Duration;

/// The first times, in seconds. After that, the time doubles.
const TIMES: [u64; 6] = [10, 60, 300, 600, 1800, 3600];

/// Returns when the next message is due, of a wait that has lasted for some time.
pub(super) fn next_after(elapsed: Duration) -> Duration {
    let mut times = TIMES.into_iter().map(Duration::from_secs);
    let next = times.find(|time| *time > elapsed);
    next.unwrap_or_else(|| {
        let mut time = Duration::from_secs(TIMES[TIMES.len() - 1]);
        while time <= elapsed {
            time = time.saturating_mul(2);
        }
        time
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_grow() {
        let mut times = vec![0];
        for _ in 0..8 {
            let last = Duration::from_secs(times[times.len() - 1]);
            times.push(next_after(last).as_secs());
        }
        assert_eq!(times, [0, 10, 60, 300, 600, 1800, 3600, 7200, 14400]);
        assert_eq!(next_after(Duration::from_millis(9999)).as_secs(), 10);
    }
}

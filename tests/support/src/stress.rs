//! Size and randomness of the stress tests.

use std::time::{Duration, SystemTime};

use fastrand::Rng;

/// How much a stress test does, and with which random numbers.
#[derive(Clone, Copy, Debug)]
pub struct StressSettings {
    /// A factor for the number of rounds, from `FDLOCK_STORM`. At 1, the default, a test takes some
    /// seconds.
    pub size: u64,
    /// The seed of the random numbers: `FDLOCK_STORM_SEED`, to repeat a run, or the clock.
    pub seed: u64,
}

impl StressSettings {
    /// Reads the settings from the environment, and prints them for the case that the test fails.
    pub fn from_env() -> Self {
        let number = |name| Some(std::env::var(name).ok()?.parse().expect("a number"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let clock = u64::from(now.expect("the clock is after 1970").subsec_nanos());
        let size = number("FDLOCK_STORM").unwrap_or(1);
        let seed = number("FDLOCK_STORM_SEED").unwrap_or(clock);
        println!("FDLOCK_STORM={size} FDLOCK_STORM_SEED={seed}");
        Self { size, seed }
    }
}

/// Sleeps for up to 6 ms, so that what follows happens at a random point of another process's run.
pub fn random_delay(rng: &mut Rng) {
    std::thread::sleep(Duration::from_micros(rng.u64(..6000)));
}

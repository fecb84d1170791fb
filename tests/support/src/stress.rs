//! Chance, for the storms.

use std::time::{Duration, SystemTime};

/// Dice that fall the same way again: the splitmix64 generator.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Waits for a moment to kill somebody at.
    pub fn dawdle(&mut self) {
        std::thread::sleep(Duration::from_micros(self.below(6000)));
    }
}

/// How long a storm is to blow (`FDLOCK_STORM`; 1: some seconds), and how its dice are to fall (`FDLOCK_STORM_SEED`).
pub fn size_and_seed() -> (u64, u64) {
    let number = |name| Some(std::env::var(name).ok()?.parse().expect("a number"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let clock = u64::from(now.expect("after 1970").subsec_nanos());
    let size = number("FDLOCK_STORM").unwrap_or(1);
    let seed = number("FDLOCK_STORM_SEED").unwrap_or(clock);
    // Shown when the test fails.
    println!("FDLOCK_STORM={size} FDLOCK_STORM_SEED={seed}");
    (size, seed)
}

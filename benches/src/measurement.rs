//! A measurement, how its samples are taken, and its statistics.

use crate::contenders::Contender;
use anyhow::Result;

/// One task, measured for all contenders that can do it.
pub struct Measurement {
    pub title: String,
    /// The command line, as a user would type it.
    pub command: &'static str,
    pub unit: Unit,
    /// The first one is the baseline of all ratios.
    pub series: Vec<Series>,
    pub target: Option<Target>,
}

/// The samples of one contender. Samples of the same index were taken in the same round.
pub struct Series {
    pub contender: Contender,
    pub samples: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Microseconds,
    Milliseconds,
    /// Milliseconds, up to this timeout.
    MillisecondsUpTo(f64),
    Kilobytes,
    Instructions,
}

/// An upper limit for fdlock.
#[derive(Clone, Copy)]
pub enum Target {
    /// Relative to the baseline.
    Ratio(f64),
    /// Relative to the floor.
    RatioToFloor(f64),
    /// In the measurement's unit.
    Amount(f64),
}

/// Medians and deciles, because process times have a long tail on one side: a mean would mostly
/// show how often something else ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    pub p10: f64,
    pub median: f64,
    pub p90: f64,
}

/// Takes one sample of each contender per round, after some rounds to warm up. Alternating them
/// spreads other activity of the machine over all of them.
pub fn interleave<C>(
    mut contenders: Vec<(Contender, C)>,
    rounds: u32,
    mut sample: impl FnMut(&mut C) -> Result<f64>,
) -> Result<Vec<Series>> {
    let empty = |(contender, _): &(Contender, C)| Series {
        contender: *contender,
        samples: Vec::new(),
    };
    let mut series: Vec<Series> = contenders.iter().map(empty).collect();
    let warm_up = rounds / 20;
    for round in 0..warm_up + rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            // So that no contender always finds the caches as the same other one left them.
            order.reverse();
        }
        for index in order {
            let amount = sample(&mut contenders[index].1)?;
            if round >= warm_up {
                series[index].samples.push(amount);
            }
        }
    }
    Ok(series)
}

impl Measurement {
    pub fn contenders(&self) -> impl Iterator<Item = Contender> {
        self.series.iter().map(|series| series.contender)
    }

    pub fn baseline(&self) -> Contender {
        self.series[0].contender
    }

    /// Returns the contender that the target applies to: fdlock, or fdlock with the option that is
    /// compared with fdlock without it.
    pub fn target_contender(&self) -> Contender {
        self.contenders()
            .find(|contender| matches!(contender, Contender::Fair | Contender::Slots))
            .unwrap_or(Contender::Fdlock)
    }

    pub fn percentiles(&self, contender: Contender) -> Percentiles {
        Percentiles::new(self.samples(contender).iter().copied())
    }

    pub fn ratio(&self, contender: Contender) -> Percentiles {
        self.ratio_to(contender, self.baseline())
    }

    /// Divides each sample by the other contender's sample of the same round, so that whatever else
    /// the machine did at that time affects both.
    pub fn ratio_to(&self, contender: Contender, other: Contender) -> Percentiles {
        Percentiles::new(
            self.samples(contender)
                .iter()
                .zip(self.samples(other))
                .map(|(sample, other)| sample / other),
        )
    }

    /// Returns the samples of one of [`Self::contenders`].
    pub fn samples(&self, contender: Contender) -> &[f64] {
        let mut series = self.series.iter();
        let series = series.find(|series| series.contender == contender);
        &series.expect("the contender was measured").samples
    }
}

impl Target {
    pub fn limit(self) -> f64 {
        match self {
            Target::Ratio(limit) | Target::RatioToFloor(limit) | Target::Amount(limit) => limit,
        }
    }

    /// Returns the measured value that this limits.
    pub fn measured(self, measurement: &Measurement) -> f64 {
        let contender = measurement.target_contender();
        match self {
            Target::Ratio(_) | Target::RatioToFloor(_) => {
                let divisor = self.divisor(measurement);
                measurement.ratio_to(contender, divisor).median
            }
            Target::Amount(_) => measurement.percentiles(contender).median,
        }
    }

    /// Returns the contender that a ratio refers to.
    pub fn divisor(self, measurement: &Measurement) -> Contender {
        match self {
            Target::RatioToFloor(_) => Contender::Floor,
            Target::Ratio(_) | Target::Amount(_) => measurement.baseline(),
        }
    }

    /// Returns the limit in the measurement's unit.
    pub fn amount(self, measurement: &Measurement) -> f64 {
        match self {
            Target::Ratio(limit) | Target::RatioToFloor(limit) => {
                limit * measurement.percentiles(self.divisor(measurement)).median
            }
            Target::Amount(limit) => limit,
        }
    }
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Microseconds => "µs",
            Unit::Milliseconds | Unit::MillisecondsUpTo(_) => "ms",
            Unit::Kilobytes => "kB",
            Unit::Instructions => "instructions",
        }
    }

    /// Formats an amount with its unit.
    pub fn format(self, amount: f64) -> String {
        let number = self.format_number(amount);
        match self {
            Unit::MillisecondsUpTo(timeout) if amount >= timeout => {
                format!("> {} s", timeout / 1e3)
            }
            Unit::Microseconds => format!("{number} µs"),
            Unit::Milliseconds | Unit::MillisecondsUpTo(_) => format!("{number} ms"),
            Unit::Kilobytes => format!("{number} kB"),
            Unit::Instructions => number,
        }
    }

    /// Formats an amount without its unit.
    pub fn format_number(self, amount: f64) -> String {
        match self {
            Unit::Milliseconds | Unit::MillisecondsUpTo(_) => format!("{amount:.1}"),
            Unit::Microseconds if amount < 10.0 => format!("{amount:.2}"),
            Unit::Microseconds | Unit::Kilobytes => format!("{amount:.0}"),
            Unit::Instructions => with_thousands_separators(amount.round() as u64),
        }
    }
}

pub fn format_ratio(ratio: f64) -> String {
    if ratio < 100.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.0}")
    }
}

fn with_thousands_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut formatted = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            formatted.push(',');
        }
        formatted.push(digit);
    }
    formatted
}

impl Percentiles {
    /// Returns the percentiles of at least one sample.
    pub fn new(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            p10: quantile(&sorted, 0.1),
            median: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
        }
    }
}

/// Interpolates linearly between two samples.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let [below, above] = [position.floor(), position.ceil()].map(|index| sorted[index as usize]);
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(series: &[(Contender, &[f64])]) -> Measurement {
        let one = |(contender, samples): &(Contender, &[f64])| Series {
            contender: *contender,
            samples: samples.to_vec(),
        };
        Measurement {
            title: String::new(),
            command: "",
            unit: Unit::Microseconds,
            series: series.iter().map(one).collect(),
            target: None,
        }
    }

    fn percentiles(p10: f64, median: f64, p90: f64) -> Percentiles {
        Percentiles { p10, median, p90 }
    }

    #[test]
    fn ratio_is_computed_pair_by_pair() {
        // The ratio of the medians depends on the rounds; the ratio of each pair is 0.5.
        let measurement = measurement(&[
            (Contender::Reference, &[2.0, 80.0, 20.0, 200.0]),
            (Contender::Fdlock, &[1.0, 40.0, 10.0, 100.0]),
        ]);
        let ratio = measurement.ratio(Contender::Fdlock);
        assert_eq!(ratio, percentiles(0.5, 0.5, 0.5));
    }

    #[test]
    fn target_applies_to_the_option_if_one_is_measured() {
        use Contender::{BashColon, Fair, Fdlock, GnuSem, Slots};
        for (first, second, expected) in [
            (BashColon, Fdlock, Fdlock),
            (Fdlock, Fair, Fair),
            (Slots, GnuSem, Slots),
        ] {
            let measurement = measurement(&[(first, &[1.0]), (second, &[1.0])]);
            assert_eq!(measurement.target_contender(), expected);
        }
    }

    #[test]
    fn timeout_is_not_shown_as_a_time() {
        let unit = Unit::MillisecondsUpTo(3000.0);
        assert_eq!(unit.format(2999.0), "2999.0 ms");
        assert_eq!(unit.format(3000.0), "> 3 s");
    }

    #[test]
    fn instructions_have_thousands_separators() {
        let numbers = [0.0, 999.0, 1000.0, 1_234_567.0];
        let formatted = numbers.map(|number| Unit::Instructions.format_number(number));
        assert_eq!(formatted, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn percentiles_of_a_single_sample() {
        assert_eq!(Percentiles::new([7.0]), percentiles(7.0, 7.0, 7.0));
    }

    #[test]
    fn percentiles_do_not_depend_on_the_order() {
        let samples = (0..=10).rev().map(f64::from);
        assert_eq!(Percentiles::new(samples), percentiles(1.0, 5.0, 9.0));
    }

    #[test]
    fn median_of_an_even_number_of_samples_is_interpolated() {
        assert_eq!(Percentiles::new([1.0, 2.0, 4.0, 8.0]).median, 3.0);
    }
}

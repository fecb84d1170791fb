//! What every measurement hands to the report.

use crate::stats::Spread;

/// One thing measured, of everybody it can be measured of.
pub struct Measurement {
    /// In words.
    pub title: &'static str,
    /// The command line, as one would type it.
    pub command: &'static str,
    pub unit: Unit,
    /// The first is the one that ratios are to.
    pub series: Vec<Series>,
    pub target: Option<Target>,
}

/// The samples of one contender, in the measurement's unit. Sample `n` of one was taken right beside sample `n` of
/// the others.
pub struct Series {
    pub who: Who,
    pub samples: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Reference,
    Ours,
    /// Ours, in the order of arrival.
    Fair,
    /// Ours, four at a time.
    Slots,
    /// GNU sem, four at a time.
    Sem,
    /// The least that can do this job: see `floor/`.
    Floor,
    /// The command without any lock.
    Alone,
    /// The shell function without any lock.
    Bare,
    /// What bash needs for as many words and a builtin that does nothing.
    Colon,
    /// zsh's builtin lock.
    Zsh,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Microseconds,
    Milliseconds,
    /// Milliseconds up to these, when it is given up.
    Within(f64),
    Kilobytes,
    Instructions,
}

/// The most that fdlock may take.
#[derive(Clone, Copy)]
pub enum Target {
    /// As a part of what the first takes.
    Ratio(f64),
    /// In the measurement's unit.
    Amount(f64),
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Who::Reference => "util-linux",
            Who::Ours => "fdlock",
            Who::Fair => "--fair",
            Who::Slots => "--slots",
            Who::Sem => "GNU sem",
            Who::Floor => "floor",
            Who::Alone => "true alone",
            Who::Bare => "f alone",
            Who::Colon => "bash's :",
            Who::Zsh => "zsh",
        }
    }
}

impl Unit {
    /// The amount in this unit, with the unit.
    pub fn show(self, amount: f64) -> String {
        if let Unit::Within(most) = self
            && amount >= most
        {
            return format!("not in {} s", most / 1e3);
        }
        let (number, name) = (self.number(amount), self.name());
        if name.is_empty() {
            number
        } else {
            format!("{number} {name}")
        }
    }

    /// The amount in this unit, without it.
    pub fn number(self, amount: f64) -> String {
        match self {
            Unit::Milliseconds | Unit::Within(_) => format!("{amount:.1}"),
            Unit::Microseconds if amount < 10.0 => format!("{amount:.2}"),
            Unit::Microseconds | Unit::Kilobytes => format!("{amount:.0}"),
            Unit::Instructions => with_thousands(amount.round() as u64),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Microseconds => "µs",
            Unit::Milliseconds | Unit::Within(_) => "ms",
            Unit::Kilobytes => "kB",
            Unit::Instructions => "",
        }
    }
}

impl Target {
    pub fn most(self) -> f64 {
        match self {
            Target::Ratio(most) | Target::Amount(most) => most,
        }
    }

    /// What was measured of what this limits.
    pub fn of(self, measurement: &Measurement) -> f64 {
        match self {
            Target::Ratio(_) => measurement.ratio(measurement.subject()).median,
            Target::Amount(_) => measurement.spread(measurement.subject()).median,
        }
    }

    /// The limit in the measurement's unit.
    pub fn amount(self, measurement: &Measurement) -> f64 {
        match self {
            Target::Ratio(most) => most * measurement.spread(measurement.first()).median,
            Target::Amount(most) => most,
        }
    }
}

impl Measurement {
    pub fn everybody(&self) -> impl Iterator<Item = Who> {
        self.series.iter().map(|series| series.who)
    }

    /// Whom the others are compared with.
    pub fn first(&self) -> Who {
        self.series[0].who
    }

    /// Whom the target is for: ours, with the option that is measured beside ours without it.
    pub fn subject(&self) -> Who {
        let is_option = |who: &Who| matches!(who, Who::Fair | Who::Slots);
        self.everybody().find(is_option).unwrap_or(Who::Ours)
    }

    pub fn spread(&self, who: Who) -> Spread {
        Spread::of(self.samples(who).iter().copied())
    }

    /// What `who` takes as a part of what the first takes, pair by pair: the machine is the same for the two of a pair,
    /// whatever else it did during the whole run.
    pub fn ratio(&self, who: Who) -> Spread {
        Spread::of(
            self.samples(who)
                .iter()
                .zip(self.samples(self.first()))
                .map(|(this, first)| this / first),
        )
    }

    /// Those of `who`, who was measured: only those of [`Self::everybody`] were.
    pub fn samples(&self, who: Who) -> &[f64] {
        let series = self.series.iter().find(|series| series.who == who);
        &series.expect("who was measured").samples
    }
}

/// A ratio.
pub fn times(ratio: f64) -> String {
    if ratio < 100.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.0}")
    }
}

fn with_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_pair_by_pair() {
        // The medians alone would say 40 / 20; each single pair says a half.
        let measurement = Measurement {
            title: "",
            command: "",
            unit: Unit::Microseconds,
            series: vec![
                Series {
                    who: Who::Reference,
                    samples: vec![2.0, 80.0, 20.0, 200.0],
                },
                Series {
                    who: Who::Ours,
                    samples: vec![1.0, 40.0, 10.0, 100.0],
                },
            ],
            target: None,
        };
        assert_eq!(
            measurement.ratio(Who::Ours),
            Spread {
                p10: 0.5,
                median: 0.5,
                p90: 0.5
            }
        );
    }

    #[test]
    fn the_target_is_for_the_option_where_one_is_measured() {
        let of = |everybody: &[Who]| Measurement {
            title: "",
            command: "",
            unit: Unit::Milliseconds,
            series: everybody
                .iter()
                .map(|who| Series {
                    who: *who,
                    samples: vec![1.0],
                })
                .collect(),
            target: None,
        };
        assert_eq!(of(&[Who::Colon, Who::Ours]).subject(), Who::Ours);
        assert_eq!(of(&[Who::Ours, Who::Fair]).subject(), Who::Fair);
        assert_eq!(of(&[Who::Slots, Who::Sem]).subject(), Who::Slots);
    }

    #[test]
    fn what_is_given_up_is_no_time() {
        let unit = Unit::Within(3000.0);
        assert_eq!(unit.show(2999.0), "2999.0 ms");
        assert_eq!(unit.show(3000.0), "not in 3 s");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, shown) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(Unit::Instructions.number(number), shown);
        }
    }
}

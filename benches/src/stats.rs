//! A median and how far the samples lie around it.

/// Where the samples lie. Medians and deciles, because the times of processes have a long tail to one side: a mean
/// would mostly tell how often something else ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub p10: f64,
    pub median: f64,
    pub p90: f64,
}

impl Spread {
    /// The spread of `samples`, of which there is at least one.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            p10: quantile(&sorted, 0.1),
            median: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
        }
    }
}

/// Between two samples, the line between them.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[position.floor() as usize],
        sorted[position.ceil() as usize],
    );
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_is_its_own_spread() {
        assert_eq!(
            Spread::of([7.0]),
            Spread {
                p10: 7.0,
                median: 7.0,
                p90: 7.0
            }
        );
    }

    #[test]
    fn the_order_of_the_samples_does_not_matter() {
        let spread = Spread::of((0..=10).rev().map(f64::from));
        assert_eq!(
            spread,
            Spread {
                p10: 1.0,
                median: 5.0,
                p90: 9.0
            }
        );
    }

    #[test]
    fn an_even_number_of_samples_has_its_median_in_the_middle_of_two() {
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 8.0]).median, 3.0);
    }
}

//! Taking turns: what else the machine does falls on everybody alike.

use crate::measurement::{Series, Who};
use anyhow::Result;

/// Takes one sample of each command in turn, `rounds` times. The first turns are to warm up and do not count.
pub fn interleaved<C>(
    mut commands: Vec<(Who, C)>,
    rounds: u32,
    mut sample: impl FnMut(&mut C) -> Result<f64>,
) -> Result<Vec<Series>> {
    let mut series: Vec<Series> = commands
        .iter()
        .map(|(who, _)| Series {
            who: *who,
            samples: Vec::new(),
        })
        .collect();
    let warm_up = rounds / 20;
    for round in 0..warm_up + rounds {
        let mut order: Vec<usize> = (0..commands.len()).collect();
        if round % 2 == 1 {
            // There and back again: nobody always finds the caches as the same predecessor left them.
            order.reverse();
        }
        for index in order {
            let amount = sample(&mut commands[index].1)?;
            if round >= warm_up {
                series[index].samples.push(amount);
            }
        }
    }
    Ok(series)
}

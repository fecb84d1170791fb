//! Those who ask for their turn (`--fair`), and those who take a slot (`--slots`).

use crate::contenders::Contenders;
use crate::fixture::Stage;
use crate::measurement::Measurement;
use crate::options::Options;
use crate::{contended, idle, readers, slots, uncontended};
use anyhow::Result;

/// How often what takes seconds is done.
const FEW: u32 = 3;

pub fn measure(
    contenders: &Contenders,
    stage: &Stage,
    options: &Options,
) -> Result<Vec<Measurement>> {
    let mut all = uncontended::in_turn(contenders, stage, options.runs)?;
    all.extend(contended::measure(contenders, stage, options.rounds())?);
    all.push(idle::measure(contenders, stage, FEW)?);
    all.push(readers::measure(contenders, stage, FEW)?);
    all.push(uncontended::in_a_slot(
        contenders,
        stage,
        options.runs,
        options.rounds(),
    )?);
    all.push(slots::measure(contenders, stage, FEW)?);
    Ok(all)
}

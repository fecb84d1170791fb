//! The display in a log: whole sentences, at growing intervals.

use super::schedule::next_after;
use super::text::{Sentence, label};
use super::wait::Wait;
use crate::holders::File;

/// Prints a sentence at the start, and when the wait has lasted for some time.
pub(super) fn show(wait: &Wait<'_>, file: Option<&File>) {
    let print = |is_first: bool| {
        let sentence = Sentence {
            label: label(wait.target),
            status: wait.look_up(file, is_first),
            waited: (!is_first).then(|| wait.elapsed()),
            limit: wait.limit(),
        };
        if wait.stage.is_wanted() {
            wait.report.error(sentence.to_string());
        }
    };
    if wait.is_first {
        print(true);
    }
    loop {
        let next = next_after(wait.elapsed());
        while wait.elapsed() < next {
            if !wait.stage.sleep(next.saturating_sub(wait.elapsed())) {
                return;
            }
        }
        print(false);
    }
}

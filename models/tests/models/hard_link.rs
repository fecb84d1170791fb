//! LOCK of `ulock`, and its takeover.

use crate::{assert_found, explore, is_true, processes};
use models::graph::Timers;
use models::hard_link::{HardLink, Mutant, Takeover};

#[test]
fn at_most_one_process_holds_lock() {
    for takeover in [Takeover::Exchange, Takeover::Rename] {
        let model = HardLink::new(processes() as u8, takeover);
        let graph = explore(&model, &HardLink::ALWAYS);
        for process in 0..processes() {
            assert!(is_true(graph.leads_to(
                "a process that is alone takes over a stale LOCK",
                Timers::Idle,
                |_, stepping| usize::from(stepping) == process,
                |state| state.is_unopposed(process),
                |state| state.is_holder(process),
            )));
        }
    }
}

#[test]
fn a_late_owner_may_lose_lock() {
    for takeover in [Takeover::Exchange, Takeover::Rename] {
        let model = HardLink {
            late_owners: true,
            ..HardLink::new(2, takeover)
        };
        assert_found(&model, &HardLink::ALWAYS);
    }
}

#[test]
fn mutants_are_found() {
    use Takeover::{Exchange, Rename};
    for (mutant, takeover) in [
        (Mutant::NoCheck, Exchange),
        (Mutant::UnlinkIfLost, Exchange),
        (Mutant::UnlinkByName, Exchange),
        (Mutant::NoSecondCheck, Rename),
    ] {
        let model = HardLink {
            mutant,
            ..HardLink::new(3, takeover)
        };
        assert_found(&model, &HardLink::ALWAYS);
    }
}

//! What to do next, as a pure function of what is wanted and what is seen.

use std::time::{Duration, Instant};

use alcove_types::machine::Desired;

/// What is seen of the machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No disk: never made.
    Absent,
    /// Off, without a saved state.
    Off,
    /// Off, with a saved state.
    Saved,
    /// On.
    On,
    /// On without having begun to run: a supervisor died while it started or resumed the machine.
    NotBegun,
    /// On, standing still, and all of it is in the saved state: a supervisor died at the end of a suspend, or when a
    /// resumed guest was about to run.
    Kept,
    /// On, standing still in the midst of its life: a supervisor died while it suspended the machine.
    Still,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing to do.
    Rest,
    /// Boot from nothing.
    Boot,
    /// Take up the saved state.
    Resume,
    /// Save to disk.
    Suspend,
    /// Shut down.
    ShutDown,
    /// Throw the saved state away: the machine is to be off, not saved.
    DiscardState,
    /// Let it run on.
    Continue,
    /// End a machine that has nothing to lose.
    End,
}

/// What leads from what is seen to what is wanted. `restart` asks for a shutdown first even when running is wanted.
pub(crate) fn next(desired: Desired, seen: Seen, restart: bool) -> Next {
    match (desired, seen) {
        (_, Seen::Absent) => Next::Rest,
        (_, Seen::NotBegun) => Next::End,
        // It runs on first, so that it can shut down in order.
        (Desired::Running | Desired::Stopped, Seen::Kept | Seen::Still) => Next::Continue,
        (Desired::Suspended, Seen::On | Seen::Kept | Seen::Still) => Next::Suspend,
        (Desired::Running, Seen::On) if restart => Next::ShutDown,
        (Desired::Running, Seen::On) | (Desired::Stopped, Seen::Off) => Next::Rest,
        (Desired::Running, Seen::Saved) if restart => Next::DiscardState,
        (Desired::Running, Seen::Off) => Next::Boot,
        (Desired::Running, Seen::Saved) => Next::Resume,
        // A machine that is off holds no memory: there is nothing to save.
        (Desired::Suspended, Seen::Off | Seen::Saved) => Next::Rest,
        (Desired::Stopped, Seen::On) => Next::ShutDown,
        (Desired::Stopped, Seen::Saved) => Next::DiscardState,
    }
}

/// Counts unexpected ends, so that a machine that can't live is given up on with a reason and not restarted forever.
#[derive(Debug, Default)]
pub(crate) struct Crashes(Vec<Instant>);

impl Crashes {
    /// Ends within this time count together.
    const WINDOW: Duration = Duration::from_secs(600);
    /// The machine is given up on after this many.
    const LIMIT: usize = 3;

    /// Notes an unexpected end. Returns how long to wait before the next start, or `None` when it is enough.
    pub(crate) fn note(&mut self, now: Instant) -> Option<Duration> {
        self.0.retain(|at| now.duration_since(*at) < Self::WINDOW);
        self.0.push(now);
        match self.0.len() {
            n if n > Self::LIMIT => None,
            1 => Some(Duration::ZERO),
            n => Some(Duration::from_secs(1 << n)),
        }
    }

    /// Forgets all: a person asked anew.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies actions as the provider would, to prove that every state leads to what is wanted.
    fn settle(desired: Desired, seen: Seen, restart: bool) -> (Seen, Vec<Next>) {
        settle_ending(desired, seen, restart, Seen::Off)
    }

    fn settle_ending(desired: Desired, mut seen: Seen, mut restart: bool, ended: Seen) -> (Seen, Vec<Next>) {
        let mut steps = Vec::new();
        for _ in 0..6 {
            let action = next(desired, seen, restart);
            seen = match action {
                Next::Rest => return (seen, steps),
                // A boot is what the restart asked for.
                Next::Boot => {
                    restart = false;
                    Seen::On
                }
                Next::Resume | Next::Continue => Seen::On,
                Next::Suspend => Seen::Saved,
                // What it was to be started from is as it was: nothing but the disk, or a state.
                Next::End => ended,
                Next::ShutDown | Next::DiscardState => {
                    restart = false;
                    Seen::Off
                }
            };
            steps.push(action);
        }
        panic!("{desired:?} from {seen:?} does not settle: {steps:?}");
    }

    #[test]
    fn every_state_leads_to_what_is_wanted() {
        for seen in [Seen::Off, Seen::Saved, Seen::On, Seen::NotBegun, Seen::Kept, Seen::Still] {
            for (restart, ended) in [(false, Seen::Off), (true, Seen::Off), (false, Seen::Saved), (true, Seen::Saved)] {
                let leads_to = |desired| settle_ending(desired, seen, restart, ended).0;
                assert_eq!(leads_to(Desired::Running), Seen::On);
                assert_eq!(leads_to(Desired::Stopped), Seen::Off);
                assert!(matches!(leads_to(Desired::Suspended), Seen::Off | Seen::Saved));
            }
        }
        assert_eq!(settle(Desired::Running, Seen::Absent, false).0, Seen::Absent);
    }

    #[test]
    fn a_restart_goes_through_off_exactly_once() {
        assert_eq!(settle(Desired::Running, Seen::On, true).1, [Next::ShutDown, Next::Boot]);
        assert_eq!(settle(Desired::Running, Seen::Saved, true).1, [Next::DiscardState, Next::Boot]);
        assert_eq!(settle(Desired::Running, Seen::Off, true).1, [Next::Boot]);
    }

    #[test]
    fn a_saved_machine_is_resumed_and_not_booted() {
        assert_eq!(settle(Desired::Running, Seen::Saved, false).1, [Next::Resume]);
    }

    /// What a killed supervisor leaves behind keeps its memory, unless it has none yet.
    #[test]
    fn a_machine_that_stands_still_loses_nothing() {
        for seen in [Seen::Kept, Seen::Still] {
            assert_eq!(settle(Desired::Running, seen, false).1, [Next::Continue]);
            assert_eq!(settle(Desired::Suspended, seen, false).1, [Next::Suspend]);
            assert_eq!(settle(Desired::Stopped, seen, false).1, [Next::Continue, Next::ShutDown]);
        }
        let resumed = settle_ending(Desired::Running, Seen::NotBegun, false, Seen::Saved).1;
        assert_eq!(resumed, [Next::End, Next::Resume]);
    }

    #[test]
    fn a_machine_that_can_t_live_is_given_up_on_and_old_crashes_are_forgotten() {
        let start = Instant::now();
        let mut crashes = Crashes::default();
        assert_eq!(crashes.note(start), Some(Duration::ZERO));
        assert!(crashes.note(start).is_some_and(|wait| wait > Duration::ZERO));
        assert!(crashes.note(start).is_some());
        assert_eq!(crashes.note(start), None);
        assert_eq!(crashes.note(start + Duration::from_secs(3600)), Some(Duration::ZERO));
    }
}

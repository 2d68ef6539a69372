//! What the tray shows, as a pure function of what is known.

use alcove_types::{
    condition,
    machine::{Machine, Phase},
};

use crate::words::Word;

/// The tray icon's shape: the state must be seen without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A lit alcove.
    Running,
    /// An empty alcove.
    Suspended,
    /// An alcove with three dots.
    Busy,
    /// An alcove with a mark of attention.
    Attention,
}

/// What can be asked of the machine from the tray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    StartAgain,
    Suspend,
    Resume,
    Stop,
    StartSupervisor,
}

impl Action {
    /// Every action, to find one by its id.
    const ALL: [Self; 6] =
        [Self::Start, Self::StartAgain, Self::Suspend, Self::Resume, Self::Stop, Self::StartSupervisor];

    /// Its name in the menu's events.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::StartAgain => "start-again",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::StartSupervisor => "start-supervisor",
        }
    }

    /// The action with this id.
    pub(crate) fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.id() == id)
    }

    /// What it is called.
    pub(crate) const fn word(self) -> Word {
        match self {
            Self::Start => Word::Start,
            Self::StartAgain => Word::StartAgain,
            Self::Suspend => Word::Suspend,
            Self::Resume => Word::Resume,
            Self::Stop => Word::Stop,
            Self::StartSupervisor => Word::StartSupervisor,
        }
    }

    /// The operation of the API that it asks for.
    pub(crate) const fn path(self) -> Option<&'static str> {
        match self {
            Self::Start | Self::StartAgain => Some("/api/v1/machine/start"),
            Self::Suspend => Some("/api/v1/machine/suspend"),
            Self::Resume => Some("/api/v1/machine/resume"),
            Self::Stop => Some("/api/v1/machine/stop"),
            Self::StartSupervisor => None,
        }
    }
}

/// How far the supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Being looked for.
    Looking,
    /// It answers.
    Connected,
    /// It does not answer.
    Away,
}

/// All that the tray shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The icon.
    pub(crate) shape: Shape,
    /// The line that says the state.
    pub(crate) line: Word,
    /// What can be done now.
    pub(crate) actions: Vec<Action>,
    /// Whether the web desktop answers.
    pub(crate) desktop: bool,
}

/// What the tray shows for this state of affairs.
pub(crate) fn view(seen: Seen, machine: Option<&Machine>, quitting: bool) -> View {
    let (shape, line, actions) = match (seen, machine) {
        (Seen::Looking, _) | (Seen::Connected, None) => (Shape::Busy, Word::Connecting, vec![]),
        (Seen::Away, _) => (Shape::Attention, Word::Unreachable, vec![Action::StartSupervisor]),
        (Seen::Connected, Some(machine)) => of_machine(machine),
    };
    let desktop = seen == Seen::Connected && machine.is_some_and(|m| m.phase == Phase::Running && is_ready(m));
    if quitting {
        // What is under way can't be changed from here any more.
        return View { shape: Shape::Busy, line, actions: vec![], desktop: false };
    }
    View { shape, line, actions, desktop }
}

fn of_machine(machine: &Machine) -> (Shape, Word, Vec<Action>) {
    let putting_away =
        if machine.capabilities.suspend { vec![Action::Suspend, Action::Stop] } else { vec![Action::Stop] };
    match machine.phase {
        Phase::Absent => (Shape::Suspended, Word::Absent, vec![]),
        Phase::Starting if is_resume(machine) => (Shape::Busy, Word::Resuming, vec![]),
        Phase::Starting => (Shape::Busy, Word::Starting, vec![Action::Stop]),
        Phase::Running if is_ready(machine) => (Shape::Running, Word::Running, putting_away),
        Phase::Running if is_coming_up(machine) => (Shape::Busy, Word::Starting, putting_away),
        Phase::Running => (Shape::Attention, Word::RunningNotReady, putting_away),
        Phase::Suspending => (Shape::Busy, Word::Suspending, vec![]),
        Phase::Suspended => (Shape::Suspended, Word::Suspended, vec![Action::Resume]),
        Phase::Stopping => (Shape::Busy, Word::Stopping, vec![]),
        Phase::Stopped => (Shape::Suspended, Word::Stopped, vec![Action::Start]),
        // It was given up on and is still on.
        Phase::Failed if machine.host_memory_bytes.is_some() => {
            (Shape::Attention, Word::Failed, vec![Action::StartAgain, Action::Stop])
        }
        Phase::Failed => (Shape::Attention, Word::Failed, vec![Action::StartAgain]),
    }
}

/// Whether everything on the machine answers.
pub(crate) fn is_ready(machine: &Machine) -> bool {
    condition::find(&machine.conditions, "PlatformReady").is_some_and(alcove_types::Condition::holds)
}

fn is_coming_up(machine: &Machine) -> bool {
    machine.boot.as_ref().is_some_and(|b| !b.finished)
}

fn is_resume(machine: &Machine) -> bool {
    machine.boot.as_ref().is_some_and(|b| b.kind == alcove_types::boot::BootKind::Resume && !b.finished)
}

#[cfg(test)]
pub(crate) mod tests {
    use alcove_types::{
        Condition, ConditionStatus,
        boot::{BootKind, BootReport},
        machine::{Capabilities, Desired},
    };

    use super::*;

    pub(crate) fn machine(phase: Phase, ready: bool) -> Machine {
        Machine {
            instance: "default".into(),
            provider: "qemu".into(),
            capabilities: Capabilities {
                suspend: true,
                snapshot: true,
                grow_disk: true,
                hot_plug: false,
                gpu: vec![],
                file_sharing: vec![],
                returns_memory: true,
            },
            acceleration: None,
            setup: None,
            desired: Desired::Running,
            phase,
            since: String::new(),
            generation: 1,
            observed_generation: 1,
            conditions: vec![Condition {
                kind: "PlatformReady".into(),
                status: if ready { ConditionStatus::True } else { ConditionStatus::False },
                reason: "R".into(),
                message: String::new(),
                hint: String::new(),
                since: String::new(),
            }],
            failure: None,
            boot: None,
            guest: None,
            image: None,
            host_memory_bytes: None,
            host_cpu_share: None,
            disk_file: None,
            state_bytes: None,
            restart_needed: vec![],
        }
    }

    pub(crate) fn boot(kind: BootKind, finished: bool) -> BootReport {
        BootReport {
            attempt: 1,
            started_at: String::new(),
            kind,
            elapsed_ms: 0,
            finished,
            steps: vec![],
            estimate_ms: None,
        }
    }

    #[test]
    fn each_phase_offers_what_fits() {
        for (phase, ready, shape, line, actions, desktop) in [
            (Phase::Absent, false, Shape::Suspended, Word::Absent, vec![], false),
            (Phase::Starting, false, Shape::Busy, Word::Starting, vec![Action::Stop], false),
            (Phase::Running, true, Shape::Running, Word::Running, vec![Action::Suspend, Action::Stop], true),
            (
                Phase::Running,
                false,
                Shape::Attention,
                Word::RunningNotReady,
                vec![Action::Suspend, Action::Stop],
                false,
            ),
            (Phase::Suspending, true, Shape::Busy, Word::Suspending, vec![], false),
            (Phase::Suspended, false, Shape::Suspended, Word::Suspended, vec![Action::Resume], false),
            (Phase::Stopping, true, Shape::Busy, Word::Stopping, vec![], false),
            (Phase::Stopped, false, Shape::Suspended, Word::Stopped, vec![Action::Start], false),
            (Phase::Failed, false, Shape::Attention, Word::Failed, vec![Action::StartAgain], false),
        ] {
            let got = view(Seen::Connected, Some(&machine(phase, ready)), false);
            assert_eq!(got, View { shape, line, actions, desktop }, "{phase:?} ready={ready}");
        }
    }

    #[test]
    fn one_that_was_given_up_on_and_is_still_on_can_be_shut_down() {
        let mut m = machine(Phase::Failed, false);
        m.host_memory_bytes = Some(1 << 30);
        assert_eq!(view(Seen::Connected, Some(&m), false).actions, [Action::StartAgain, Action::Stop]);
    }

    #[test]
    fn a_machine_that_cant_suspend_is_not_asked_to() {
        let mut m = machine(Phase::Running, true);
        m.capabilities.suspend = false;
        assert_eq!(view(Seen::Connected, Some(&m), false).actions, [Action::Stop]);
    }

    #[test]
    fn coming_up_is_busy_not_a_fault() {
        let mut m = machine(Phase::Running, false);
        m.boot = Some(boot(BootKind::Cold, false));
        assert_eq!(view(Seen::Connected, Some(&m), false).shape, Shape::Busy);
        m.phase = Phase::Starting;
        m.boot = Some(boot(BootKind::Resume, false));
        assert_eq!(view(Seen::Connected, Some(&m), false).line, Word::Resuming);
    }

    #[test]
    fn without_a_supervisor_the_last_state_counts_for_nothing() {
        let m = machine(Phase::Running, true);
        let away = view(Seen::Away, Some(&m), false);
        assert_eq!(
            (away.shape, away.actions.as_slice(), away.desktop),
            (Shape::Attention, &[Action::StartSupervisor][..], false)
        );
        assert_eq!(view(Seen::Looking, Some(&m), false).shape, Shape::Busy);
        assert_eq!(view(Seen::Connected, None, false).shape, Shape::Busy);
    }

    #[test]
    fn nothing_is_offered_while_quitting() {
        let got = view(Seen::Connected, Some(&machine(Phase::Suspending, true)), true);
        assert_eq!((got.shape, got.actions.len(), got.desktop), (Shape::Busy, 0, false));
    }

    #[test]
    fn ids_lead_back_to_their_actions() {
        for action in Action::ALL {
            assert_eq!(Action::by_id(action.id()), Some(action));
        }
        assert_eq!(Action::by_id("reset"), None);
    }
}

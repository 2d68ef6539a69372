//! What the tray, dialogs and notifications say, in the languages that the pages have.

use alcove_types::settings::Language;

/// Everything that the shell says to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Absent,
    Starting,
    Resuming,
    Running,
    RunningNotReady,
    Suspending,
    Suspended,
    Stopping,
    Stopped,
    Failed,
    Connecting,
    Unreachable,
    Open,
    OpenDesktop,
    Start,
    StartAgain,
    Suspend,
    Resume,
    Stop,
    StartSupervisor,
    Quit,
    QuitSuspends,
    QuitStops,
    QuitConnectsNote,
    QuitSuspendsNote,
    QuitStopsNote,
    QuitFailed,
    QuitAnyway,
    QuitSlow,
    QuitStillOn,
    QuitStillOnText,
    TryAgain,
    StayOpen,
    Cancel,
    ShutDownAsk,
    ShutDownText,
    ReadyTitle,
    ReadyBody,
    FailedTitle,
    StuckTitle,
    ActionFailed,
    SaveAs,
}

/// The words in one language.
pub(crate) const fn say(language: Language, word: Word) -> &'static str {
    match language {
        Language::En => english(word),
        Language::Zh => chinese(word),
    }
}

const fn english(word: Word) -> &'static str {
    match word {
        Word::Absent => "Not set up yet",
        Word::Starting => "Starting…",
        Word::Resuming => "Resuming…",
        Word::Running => "Running",
        Word::RunningNotReady => "Running, not ready",
        Word::Suspending => "Suspending…",
        Word::Suspended => "Suspended",
        Word::Stopping => "Shutting down…",
        Word::Stopped => "Stopped",
        Word::Failed => "Failed",
        Word::Connecting => "Connecting…",
        Word::Unreachable => "The supervisor is not running",
        Word::Open => "Open Alcove",
        Word::OpenDesktop => "Open web desktop",
        Word::Start => "Start",
        Word::StartAgain => "Start again",
        Word::Suspend => "Suspend",
        Word::Resume => "Resume",
        Word::Stop => "Shut down",
        Word::StartSupervisor => "Start the supervisor",
        Word::Quit => "Quit",
        Word::QuitSuspends => "Suspending…",
        Word::QuitStops => "Shutting down…",
        Word::QuitConnectsNote => {
            "Alcove's supervisor is just starting. When it answers, the machine is put away, and Alcove closes by itself."
        }
        Word::QuitSuspendsNote => {
            "Alcove closes by itself when the machine is saved. Everything is as you left it when you come back."
        }
        Word::QuitStopsNote => {
            "Alcove closes by itself when the machine is shut down. Everything in it ends in order. Your data stays."
        }
        Word::QuitFailed => "The machine could not be put away",
        Word::QuitAnyway => "Quit, leave it running",
        Word::QuitSlow => {
            "Putting the machine away takes longer than it should. It goes on.\n\nTry again to wait for it, or quit \
             and leave it to itself."
        }
        Word::QuitStillOn => "The machine may still be on",
        Word::QuitStillOnText => {
            "Alcove's supervisor does not answer, and its machine may still be on and use memory.\n\nTry again: Alcove \
             then starts the supervisor and puts the machine away. When you quit instead, the machine is left as it \
             is, and found again when Alcove is opened."
        }
        Word::TryAgain => "Try again",
        Word::StayOpen => "Stay open",
        Word::Cancel => "Cancel",
        Word::ShutDownAsk => "Shut the machine down?",
        Word::ShutDownText => {
            "Everything in it ends in order. Your data stays. The next start takes longer than waking it from suspend."
        }
        Word::ReadyTitle => "Alcove is ready",
        Word::ReadyBody => "The machine is up.",
        Word::FailedTitle => "The machine has failed",
        Word::StuckTitle => "The machine is stuck",
        Word::ActionFailed => "That did not work",
        Word::SaveAs => "Save as a file",
    }
}

const fn chinese(word: Word) -> &'static str {
    match word {
        Word::Absent => "尚未设置",
        Word::Starting => "正在启动…",
        Word::Resuming => "正在恢复…",
        Word::Running => "运行中",
        Word::RunningNotReady => "运行中，尚未就绪",
        Word::Suspending => "正在挂起…",
        Word::Suspended => "已挂起",
        Word::Stopping => "正在关机…",
        Word::Stopped => "已停止",
        Word::Failed => "出现故障",
        Word::Connecting => "正在连接…",
        Word::Unreachable => "守护程序未运行",
        Word::Open => "打开 Alcove",
        Word::OpenDesktop => "打开网页桌面",
        Word::Start => "启动",
        Word::StartAgain => "重新启动",
        Word::Suspend => "挂起",
        Word::Resume => "恢复",
        Word::Stop => "关机",
        Word::StartSupervisor => "启动守护程序",
        Word::Quit => "退出",
        Word::QuitSuspends => "正在挂起…",
        Word::QuitStops => "正在关机…",
        Word::QuitConnectsNote => "守护程序正在启动。待其响应后，云主机会被收起，Alcove 随后自动关闭。",
        Word::QuitSuspendsNote => "云主机保存完毕后，Alcove 会自动关闭。再次打开时，一切如旧。",
        Word::QuitStopsNote => "云主机关机后，Alcove 会自动关闭。其中的程序会依次结束，文件会保留。",
        Word::QuitFailed => "无法收起云主机",
        Word::QuitAnyway => "退出，让它继续运行",
        Word::QuitSlow => {
            "收起云主机的时间超出预期，操作仍在继续。\n\n可以重试以继续等待，也可以直接退出，让它自行完成。"
        }
        Word::QuitStillOn => "云主机可能仍在运行",
        Word::QuitStillOnText => {
            "守护程序没有响应，云主机可能仍在运行并占用内存。\n\n重试时，Alcove 会启动守护程序并收起云主机。\
             若直接退出，云主机保持原样，下次打开 Alcove 时会重新找到它。"
        }
        Word::TryAgain => "重试",
        Word::StayOpen => "不退出",
        Word::Cancel => "取消",
        Word::ShutDownAsk => "要关闭云主机吗？",
        Word::ShutDownText => "其中的程序会依次结束，数据会保留。下次启动比从挂起恢复要慢。",
        Word::ReadyTitle => "Alcove 已就绪",
        Word::ReadyBody => "云主机已启动。",
        Word::FailedTitle => "云主机出现故障",
        Word::StuckTitle => "云主机卡住了",
        Word::ActionFailed => "操作未成功",
        Word::SaveAs => "保存为文件",
    }
}

/// The language that the system is set to, for as long as the owner has chosen none.
pub(crate) fn system_language() -> Language {
    let set =
        ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    language_of(set.as_deref().unwrap_or_default())
}

fn language_of(locale: &str) -> Language {
    if locale.to_ascii_lowercase().starts_with("zh") { Language::Zh } else { Language::En }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_one_name_in_chinese() {
        for word in [Word::QuitSuspendsNote, Word::QuitStopsNote, Word::QuitFailed, Word::ReadyBody, Word::FailedTitle]
        {
            assert!(chinese(word).contains("云主机"), "{word:?}: {}", chinese(word));
        }
    }

    #[test]
    fn the_locale_names_the_language() {
        for (locale, language) in
            [("zh_CN.UTF-8", Language::Zh), ("ZH", Language::Zh), ("C", Language::En), ("", Language::En)]
        {
            assert_eq!(language_of(locale), language, "{locale}");
        }
    }
}

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
    QuitNote,
    QuitFailed,
    QuitAnyway,
    Cancel,
    ReadyTitle,
    ReadyBody,
    FailedTitle,
    ActionFailed,
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
        Word::Stop => "Stop",
        Word::StartSupervisor => "Start the supervisor",
        Word::Quit => "Quit",
        Word::QuitSuspends => "Suspending…",
        Word::QuitStops => "Shutting down…",
        Word::QuitNote => {
            "Alcove closes by itself when the machine is saved. Everything is as you left it when you come back."
        }
        Word::QuitFailed => "The machine could not be put away",
        Word::QuitAnyway => "Quit, leave it running",
        Word::Cancel => "Cancel",
        Word::ReadyTitle => "Alcove is ready",
        Word::ReadyBody => "The machine is up.",
        Word::FailedTitle => "The machine has failed",
        Word::ActionFailed => "That did not work",
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
        Word::Stop => "停止",
        Word::StartSupervisor => "启动守护程序",
        Word::Quit => "退出",
        Word::QuitSuspends => "正在挂起…",
        Word::QuitStops => "正在关机…",
        Word::QuitNote => "虚拟机保存完毕后，Alcove 会自动关闭。再次打开时，一切如旧。",
        Word::QuitFailed => "无法收起虚拟机",
        Word::QuitAnyway => "退出，让它继续运行",
        Word::Cancel => "取消",
        Word::ReadyTitle => "Alcove 已就绪",
        Word::ReadyBody => "虚拟机已启动。",
        Word::FailedTitle => "虚拟机出现故障",
        Word::ActionFailed => "操作未成功",
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
    fn the_locale_names_the_language() {
        for (locale, language) in
            [("zh_CN.UTF-8", Language::Zh), ("ZH", Language::Zh), ("C", Language::En), ("", Language::En)]
        {
            assert_eq!(language_of(locale), language, "{locale}");
        }
    }
}

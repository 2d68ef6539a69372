//! Errors as pages, for somebody who opened an address in a browser: in the browser's language.

use alcove_types::{ApiError, ErrorCode};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use crate::answer;

/// A sentence that says what happened, and one that says what to do next.
type Words = (&'static str, &'static str);

/// Whether the answer is for a person to look at.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"))
}

/// An error as a page.
pub(crate) fn explain(error: &ApiError, headers: &HeaderMap) -> Response {
    explain_in(error, chinese(error.code), headers)
}

/// An error as a page, with its words in Chinese. Without them it is told in English, and says so.
pub(crate) fn explain_in(error: &ApiError, chinese: Option<Words>, headers: &HeaderMap) -> Response {
    let (language, message, hint) = match chinese {
        Some((message, hint)) if prefers_chinese(headers) => ("zh-CN", message, hint),
        _ => ("en", error.message.as_str(), error.hint.as_str()),
    };
    // What passes by itself is looked at again; a sign-in does not come by waiting.
    let status = answer::status(error.code);
    let again = if status.is_server_error() { "<meta http-equiv=refresh content=5>" } else { "" };
    let page = format!(
        "<!doctype html><html lang={language}><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         {again}<title>Alcove</title><style>:root{{color-scheme:light dark}}\
         body{{font:15px/1.5 system-ui;display:grid;place-content:center;min-height:90vh;max-width:34rem;margin:auto;\
         padding:0 24px;background:light-dark(#fbfaf8,#26231f);color:light-dark(#3a342d,#e8e3dc)}}\
         h1{{font-size:18px;font-weight:600;margin:0 0 8px}}p{{margin:0;opacity:.8}}</style>\
         <h1>{}</h1><p>{}</p></html>",
        escape(message),
        escape(hint)
    );
    (
        status,
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept, accept-language"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ],
        page,
    )
        .into_response()
}

/// What a page may have to say, in the words of the native pages' catalogue.
fn chinese(code: ErrorCode) -> Option<Words> {
    Some(match code {
        ErrorCode::Unauthenticated => {
            ("您尚未登录。", "请从 Alcove 打开网页桌面，或运行 alcove open desktop --print 获取链接。")
        }
        ErrorCode::Forbidden => ("此请求被拒绝。", "请从 Alcove 的窗口打开，或运行 alcove open --print 获取链接。"),
        ErrorCode::MachineNotRunning => {
            ("云主机未在运行。", "请在 Alcove 中启动云主机，或运行 alcove start；启动后此页会自动打开。")
        }
        ErrorCode::GuestUnreachable => {
            ("云主机没有响应。", "它可能仍在启动，运行 alcove status 可查看正在等待什么；此页会自动重试。")
        }
        _ => return None,
    })
}

/// Whether the browser asks for Chinese before English.
fn prefers_chinese(headers: &HeaderMap) -> bool {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let weight = |language: &str| {
        let weights = asked.split(',').filter_map(|range| {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let tag = tag.trim().to_ascii_lowercase();
            let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok())?;
            (tag.split('-').next() == Some(language)).then_some(quality)
        });
        weights.fold(0.0, f32::max)
    };
    let (zh, en) = (weight("zh"), weight("en"));
    // Browsers leave the weight out of the first one alone; of two without, the first one counts.
    zh > en || (zh > 0.0 && zh.total_cmp(&en).is_eq() && asked.trim_start().to_ascii_lowercase().starts_with("zh"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn page(error: &ApiError, languages: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, languages.parse().unwrap());
        let bytes = explain(error, &headers).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_person_reads_it_in_their_language_and_the_page_says_which() {
        let error = ApiError::new(ErrorCode::MachineNotRunning, "It is <off>.", "Start it.");
        for languages in ["", "en-GB,en;q=0.9,zh;q=0.5", "de,fr;q=0.5", "en,zh"] {
            let page = page(&error, languages).await;
            assert!(page.contains("<html lang=en>") && page.contains("It is &lt;off&gt;."), "{languages}: {page}");
        }
        for languages in ["zh-CN,zh;q=0.9,en;q=0.8", "de,zh-TW;q=0.7,en;q=0.3", "ZH"] {
            let page = page(&error, languages).await;
            assert!(page.contains("<html lang=zh-CN>") && page.contains("云主机"), "{languages}: {page}");
        }
        // No words in Chinese: English, and called so.
        let other = ApiError::new(ErrorCode::Internal, "It broke.", "Report this.");
        assert!(page(&other, "zh").await.contains("<html lang=en>"));
    }

    #[tokio::test]
    async fn only_what_may_pass_by_itself_is_looked_at_again() {
        let waits = ApiError::new(ErrorCode::GuestUnreachable, "a", "b");
        assert!(page(&waits, "en").await.contains("http-equiv=refresh"));
        let stays = ApiError::new(ErrorCode::Unauthenticated, "a", "b");
        assert!(!page(&stays, "en").await.contains("http-equiv=refresh"));
    }
}

//! Links such as `alcove://open/cluster/pods?ns=apps`. A link only opens a page: anybody can make one, so nothing is done
//! by following it.

use url::Url;

/// The longest page address that is taken.
const LONGEST: usize = 1024;

/// The page that a link names, as the pages' own router writes it; `None` for what is not such a link.
pub(crate) fn path(link: &str) -> Option<String> {
    let url = Url::parse(link).ok()?;
    if url.scheme() != "alcove" || url.host_str() != Some("open") || !url.username().is_empty() || url.port().is_some()
    {
        return None;
    }
    let mut path = if url.path().is_empty() { "/".to_owned() } else { url.path().to_owned() };
    if let Some(query) = url.query() {
        path.push('?');
        path.push_str(query);
    }
    is_page(&path).then_some(path)
}

/// Whether this is the address of one of our pages and nothing else.
fn is_page(path: &str) -> bool {
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%?&=+,:".contains(&b));
    let (place, _query) = path.split_once('?').unwrap_or((path, ""));
    let encoded = place.to_ascii_lowercase();
    plain
        && path.len() <= LONGEST
        && !place.contains("//")
        && !encoded.contains("%2f")
        && !encoded.contains("%5c")
        && place.split('/').all(|part| !matches!(part, "." | "..") && !part.to_ascii_lowercase().contains("%2e"))
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn links_open_pages() {
        for (link, page) in [
            ("alcove://open/", "/"),
            ("alcove://open", "/"),
            ("alcove://open/cluster/pods", "/cluster/pods"),
            ("alcove://open/cluster/pods?ns=apps&q=a%20b", "/cluster/pods?ns=apps&q=a%20b"),
            ("alcove://open/settings#x", "/settings"),
            ("ALCOVE://open/activity", "/activity"),
            ("alcove://open/a/../../b", "/b"),
        ] {
            assert_eq!(path(link).as_deref(), Some(page), "{link}");
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for link in [
            "",
            "alcove:open/x",
            "alcove://reset/default",
            "alcove://open@evil/x",
            "alcove://me@open/x",
            "alcove://open:80/x",
            "https://open/x",
            "javascript:alert(1)",
            "alcove://open//evil.example/x",
            "alcove://open/a%2fb",
            "alcove://open/a%2e%2e/b",
            "alcove://open/<script>",
            "alcove://open/\"",
            "alcove://open/a\\b",
        ] {
            let got = path(link);
            assert!(got.is_none() || link.contains('<') || link.contains('"'), "{link} gave {got:?}");
            // What the parser encodes can't end a string or a tag any more.
            assert!(!got.unwrap_or_default().contains(['<', '"', '\\']), "{link}");
        }
        assert_eq!(path(&format!("alcove://open/{}", "a".repeat(2000))), None);
    }
}

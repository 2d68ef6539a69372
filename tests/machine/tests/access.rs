//! Who may come in: tokens, tickets, other origins, other names. No machine is needed for any of it.

use std::process::Command;

use alcove_machine_tests::World;
use anyhow::{Context, Result};
use serde_json::Value;

/// Asks with curl, as anything on this computer could. Gives the HTTP status, the headers and the body.
fn curl(arguments: &[&str]) -> Result<(u16, String, String)> {
    let output = Command::new("curl").args(["-sS", "-i", "--max-time", "20"]).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {output:?}"))?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
    Ok((status, head.to_owned(), body.to_owned()))
}

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).ok().and_then(|v| v["code"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[test]
fn only_the_owner_comes_in() -> Result<()> {
    let mut world = World::empty("access")?;
    world.supervise()?;
    let (port, token) = world.loopback()?;
    let machine = format!("http://127.0.0.1:{port}/api/v1/machine");
    let bearer = format!("Authorization: Bearer {token}");

    // No token, a wrong one, a piece of the right one.
    for headers in [vec![], vec!["-H", "Authorization: Bearer wrong"], vec!["-H", &bearer[..60]]] {
        let (status, _, body) = curl(&[headers.as_slice(), &[machine.as_str()]].concat())?;
        assert_eq!((status, code(&body).as_str()), (401, "unauthenticated"), "{headers:?}");
    }
    assert_eq!(curl(&["-H", &bearer, &machine])?.0, 200);

    // A page that points its own name at this computer (DNS rebinding).
    let resolve = format!("evil.example:{port}:127.0.0.1");
    for headers in [vec![], vec!["-H", &bearer]] {
        let url = format!("http://evil.example:{port}/api/v1/machine");
        let (status, _, body) = curl(&[headers.as_slice(), &["--resolve", &resolve, &url]].concat())?;
        assert_eq!((status, code(&body).as_str()), (403, "forbidden"));
    }
    let (status, _, _) = curl(&["--resolve", &resolve, &format!("http://evil.example:{port}/")])?;
    assert_eq!(status, 403, "not even the pages are served under another name");

    // A page of another origin that somehow has the token.
    let (status, head, _) = curl(&["-H", &bearer, "-H", "Origin: https://evil.example", &machine])?;
    assert_eq!(status, 403);
    assert!(!head.to_ascii_lowercase().contains("access-control-allow-origin"), "{head}");
    // The window's own page may ask, and only with the token.
    let (status, head, _) = curl(&["-H", &bearer, "-H", "Origin: tauri://localhost", &machine])?;
    assert_eq!(status, 200);
    assert!(head.contains("access-control-allow-origin: tauri://localhost"), "{head}");
    assert_eq!(curl(&["-H", "Origin: tauri://localhost", &machine])?.0, 401);
    Ok(())
}

#[test]
fn a_link_signs_in_once_and_its_cookie_serves_our_pages_alone() -> Result<()> {
    let mut world = World::empty("ticket")?;
    world.supervise()?;
    let (port, token) = world.loopback()?;
    let link = world.ok(&["open", "native", "--print"])?.stdout.trim().to_owned();
    let native = format!("http://alcove.localhost:{port}");
    anyhow::ensure!(link.starts_with(&native), "{link}");
    let at_native = format!("alcove.localhost:{port}:127.0.0.1");
    let named = ["--resolve", at_native.as_str()];
    let (status, head, _) = curl(&[&named[..], &[&link]].concat())?;
    assert_eq!(status, 303, "{head}");
    let cookie = head
        .lines()
        .find_map(|l| l.strip_prefix("set-cookie: "))
        .and_then(|c| c.split(';').next())
        .context("no cookie")?
        .to_owned();
    assert!(head.contains("HttpOnly") && head.contains("SameSite="), "{head}");
    assert_eq!(curl(&[&named[..], &[&link]].concat())?.0, 401, "a link replayed");

    let cookie = format!("Cookie: {cookie}");
    let own = format!("Origin: {native}");
    let machine = format!("{native}/api/v1/machine");
    let tickets = format!("{native}/api/v1/tickets");
    let curl = |arguments: &[&str]| curl(&[&named[..], arguments].concat());
    let post = ["-X", "POST", "-H", "content-type: application/json", "-d", "{\"for\":\"native\"}"];
    assert_eq!(curl(&["-H", &cookie, &machine])?.0, 200);
    assert_eq!(curl(&["-H", &cookie, "-H", "Sec-Fetch-Site: cross-site", &machine])?.0, 403);
    assert_eq!(curl(&[&post[..], &["-H", &cookie, "-H", &own, &tickets]].concat())?.0, 200);
    for origin in [vec![], vec!["-H", "Origin: https://evil.example"], vec!["-H", "Origin: null"]] {
        let refused = curl(&[&post[..], &["-H", &cookie], &origin, &[&tickets]].concat())?;
        assert_eq!(refused.0, 403, "{origin:?}");
    }
    // Every port of this computer may see a cookie of its address: there it is none.
    assert_eq!(curl(&["-H", &cookie, &format!("http://127.0.0.1:{port}/api/v1/machine")])?.0, 401);
    // The cookie of the native pages opens no web desktop.
    let desktop = format!("http://desktop.localhost:{port}/");
    let resolve = format!("desktop.localhost:{port}:127.0.0.1");
    assert_eq!(curl(&["--resolve", &resolve, "-H", &cookie, &desktop])?.0, 401);
    assert_eq!(curl(&["--resolve", &resolve, "-H", "Authorization: Bearer no", &desktop])?.0, 401);
    // With the token one gets past the gate, to be told that there is no machine.
    let (status, _, body) = curl(&["--resolve", &resolve, "-H", &format!("Authorization: Bearer {token}"), &desktop])?;
    assert_eq!((status, code(&body).as_str()), (503, "machine_not_running"));
    Ok(())
}

#[test]
fn nothing_listens_beyond_loopback_and_secrets_are_the_owners_alone() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mut world = World::empty("listen")?;
    world.supervise()?;
    let (port, _) = world.loopback()?;
    let hex = format!(":{port:04X} ");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table)?.lines().filter(|l| l.contains(&hex) && l.contains(" 0A ")) {
            assert!(line.contains("0100007F:"), "listens beyond loopback: {line}");
        }
    }
    for path in [world.layout().endpoint_json(), world.layout().api_sock()] {
        assert_eq!(std::fs::metadata(&path)?.mode() & 0o077, 0, "{}", path.display());
    }
    assert_eq!(std::fs::metadata(world.layout().runtime())?.mode() & 0o077, 0);
    Ok(())
}

#[test]
fn a_request_that_is_sent_twice_is_carried_out_once() -> Result<()> {
    let mut world = World::empty("twice")?;
    world.supervise()?;
    let (port, token) = world.loopback()?;
    let url = format!("http://127.0.0.1:{port}/api/v1/settings");
    let bearer = format!("Authorization: Bearer {token}");
    let send = |key: &str, body: &str| {
        let key = format!("Idempotency-Key: {key}");
        curl(&["-X", "PATCH", "-H", &bearer, "-H", &key, "-d", body, &url])
    };
    let first = send("one", "{\"theme\":\"dark\"}")?;
    let again = send("one", "{\"theme\":\"dark\"}")?;
    assert_eq!((first.0, &first.2), (again.0, &again.2));
    let log = world.get("/api/v1/operations")?;
    let changes = log["operations"].as_array().context("no log")?.iter().filter(|o| o["what"] == "settings.change");
    assert_eq!(changes.count(), 1);
    assert_eq!(send("one", "{\"theme\":\"light\"}")?.0, 409, "the same key for another request");
    assert_eq!(send("two", "{\"theme\":\"pink\"}")?.0, 400);
    assert_eq!(send("three", "{\"theme\":")?.0, 400);
    Ok(())
}

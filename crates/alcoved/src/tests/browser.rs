//! The native pages in a plain browser: a link, a cookie, the pages, changes as they happen, a conversation.

use alcove_types::session::Surface;
use tokio::io::AsyncWriteExt;

use super::{House, until};

#[tokio::test]
async fn a_link_leads_to_the_pages_which_hear_of_changes_and_open_a_shell() {
    let house = House::open().await;
    let native = house.at("alcove.localhost");
    let link = house.app.sessions.ticket(Surface::Native, &house.app.origin(Surface::Native)).unwrap().url;
    let path = link.strip_prefix(&format!("http://{native}")).expect("the link leads to the native pages");

    let entered = house.get(&native, path, &[]).await;
    assert_eq!((entered.status, entered.header("location")), (303, Some("/")), "{}", entered.head);
    let set = entered.header("set-cookie").unwrap();
    assert!(set.starts_with(&format!("alcove_session_{}=", house.port)), "{set}");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(word), "{set}");
    }
    assert!(!set.to_ascii_lowercase().contains("domain"), "it would be told to other names: {set}");
    let cookie = format!("Cookie: {}", set.split(';').next().unwrap());

    let page = house.get(&native, "/", &[&cookie, "Accept: text/html"]).await;
    assert_eq!(page.status, 200, "{}", page.head);
    assert!(page.header("content-type").unwrap().starts_with("text/html") && page.body.contains("<script"));
    let csp = page.header("content-security-policy").unwrap();
    assert!(csp.contains("connect-src 'self'") && !csp.contains("sandbox"), "{csp}");

    let origin = format!("Origin: http://{native}");
    let same = "Sec-Fetch-Site: same-origin";
    let machine = house.get(&native, "/api/v1/machine", &[&cookie, same]).await;
    assert_eq!(machine.json()["phase"], "running", "{}", machine.body);

    let mut events = house.send("GET", &native, "/api/v1/events", &[&cookie, same, "Accept: text/event-stream"]).await;
    let first = until(&mut events, "event: machine").await;
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("text/event-stream"), "{first}");
    let change = [cookie.as_str(), &origin, same, "Content-Type: application/json", "Content-Length: 16"];
    let mut asked = house.send("PATCH", &native, "/api/v1/settings", &change).await;
    asked.write_all(b"{\"theme\":\"dark\"}").await.unwrap();
    until(&mut events, "\"theme\":\"dark\"").await;

    let (switched, mut shell) = house.talk(&native, "/api/v1/machine/shell", &[&cookie, &origin, same]).await;
    assert_eq!(switched.status, 101, "{}", switched.head);
    shell.write_all(b"are you there?").await.unwrap();
    until(&mut shell, "are you there?").await;
}

#[tokio::test]
async fn a_link_that_was_used_is_explained_to_a_person_in_their_language() {
    let house = House::open().await;
    for (surface, name, command) in [
        (Surface::Native, "alcove.localhost", "alcove open --print"),
        (Surface::Desktop, "desktop.localhost", "alcove open desktop --print"),
    ] {
        let link = house.app.sessions.ticket(surface, "").unwrap().url;
        let host = house.at(name);
        assert_eq!(house.get(&host, &link, &[]).await.status, 303);
        let said = house.get(&host, &link, &["Accept: text/html", "Accept-Language: de,en;q=0.5"]).await;
        assert_eq!(said.status, 401);
        assert!(said.body.contains("<html lang=en>") && said.body.contains("two minutes"), "{}", said.body);
        assert!(said.body.contains(command), "{}", said.body);
        let said = house.get(&host, &link, &["Accept: text/html", "Accept-Language: zh-CN"]).await;
        assert!(said.body.contains("<html lang=zh-CN>") && said.body.contains(command), "{}", said.body);
        let said = house.get(&host, &link, &[]).await;
        assert_eq!((said.status, &said.json()["code"]), (401, &"unauthenticated".into()));
    }
}

#[tokio::test]
async fn under_the_address_a_person_is_led_to_the_name_and_a_link_is_not_spent() {
    let house = House::open().await;
    let (address, native) = (house.at("127.0.0.1"), house.at("alcove.localhost"));
    let page = house.get(&address, "/?x=1", &["Accept: text/html"]).await;
    assert_eq!((page.status, page.header("location")), (307, Some(format!("http://{native}/?x=1").as_str())));
    let link = house.app.sessions.ticket(Surface::Native, "").unwrap().url;
    let moved = house.get(&address, &link, &[]).await;
    assert_eq!(moved.header("location"), Some(format!("http://{native}{link}").as_str()));
    assert_eq!(moved.header("set-cookie"), None, "a cookie of this address goes to all its ports");
    assert_eq!(house.get(&native, &link, &[]).await.status, 303);
    // What is not ours stays so.
    let evil = house.at("evil.example");
    let refused = house.get(&evil, "/", &["Accept: text/html"]).await;
    assert_eq!((refused.status, refused.header("location")), (403, None));
}

//! What goes through to the guest.

use alcove_types::session::Surface;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{House, SOON, common::me, until};

async fn claims(house: &House, cookie: &str) -> Value {
    let page = house.get(&house.at("desktop.localhost"), "/api/v1/me", &[cookie]).await;
    let identity = page.json()["headers"]["x-alcove-identity"].as_str().unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(identity.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

#[tokio::test]
async fn the_web_desktop_is_told_what_the_settings_say_now() {
    let house = House::open().await;
    let cookie = house.signed_in(Surface::Desktop).await;
    let first = claims(&house, &cookie).await;
    assert_eq!((&first["language"], &first["theme"]), (&Value::Null, &json!("system")));
    let change = json!({ "display_name": "Ada", "language": "zh", "theme": "contrast" });
    house.supervisor.change_settings(&change, &me()).unwrap();
    let then = claims(&house, &cookie).await;
    assert_eq!(
        (&then["name"], &then["language"], &then["theme"]),
        (&json!("Ada"), &json!("zh"), &json!("contrast")),
        "{then}"
    );
    assert_eq!(then["sub"], first["sub"]);
}

#[tokio::test]
async fn a_conversation_by_host_name_reaches_the_guest_and_ends_with_either_side() {
    let house = House::open().await;
    let cookie = house.signed_in(Surface::Desktop).await;
    for name in ["desktop.localhost", "files.localhost"] {
        let host = house.at(name);
        let origin = format!("Origin: http://{host}");
        let who = if name == "desktop.localhost" { cookie.clone() } else { house.bearer() };
        let (switched, mut talk) = house.talk(&host, "/ws", &[&who, &origin]).await;
        assert_eq!((switched.status, switched.header("upgrade")), (101, Some("websocket")), "{}", switched.head);
        for words in ["one", "two"] {
            talk.write_all(words.as_bytes()).await.unwrap();
            until(&mut talk, words).await;
        }
        talk.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(SOON, talk.read_to_end(&mut rest)).await.expect("it does not end").unwrap();
    }
}

//! Who does not come in, although a cookie or a name seems to speak for them.

use alcove_types::session::Surface;

use super::House;

const JSON: [&str; 2] = ["Content-Type: application/json", "Content-Length: 0"];

#[tokio::test]
async fn a_cookie_counts_under_the_name_that_it_was_made_for_alone() {
    let house = House::open().await;
    let native = house.signed_in(Surface::Native).await;
    let desktop = house.signed_in(Surface::Desktop).await;
    let path = "/api/v1/machine";
    assert_eq!(house.get(&house.at("alcove.localhost"), path, &[&native]).await.status, 200);
    // Where every port of this computer gets to see it.
    for name in ["127.0.0.1", "localhost"] {
        let host = house.at(name);
        assert_eq!(house.get(&host, path, &[&native]).await.status, 401, "{name}");
        let origin = format!("Origin: http://{host}");
        let post = [&[native.as_str(), &origin], &JSON[..]].concat();
        assert_eq!(house.ask("POST", &host, "/api/v1/tickets", &post).await.status, 401, "{name}");
        // The token counts there: programs may not find names under `localhost`.
        assert_eq!(house.get(&host, path, &[&house.bearer()]).await.status, 200, "{name}");
    }
    assert_eq!(house.get(&house.at("alcove.localhost"), path, &[&desktop]).await.status, 401);
    assert_eq!(house.get(&house.at("desktop.localhost"), "/", &[&native]).await.status, 401);
    assert_eq!(house.get(&house.at("other.localhost"), "/", &[&native]).await.status, 401);
    assert_eq!(house.get(&house.at("desktop.localhost"), "/", &[&desktop]).await.status, 200);
}

#[tokio::test]
async fn no_other_page_opens_a_conversation_with_our_cookie() {
    let house = House::open().await;
    let native = house.signed_in(Surface::Native).await;
    let desktop = house.signed_in(Surface::Desktop).await;
    let own = house.at("alcove.localhost");
    let others = [
        None,
        Some("null".to_owned()),
        Some("http://evil.example".to_owned()),
        Some(format!("http://{}", house.at("desktop.localhost"))),
        Some(format!("http://{}", house.at("127.0.0.1"))),
        Some("http://alcove.localhost:1".to_owned()),
        Some("tauri://localhost".to_owned()),
    ];
    for path in ["/api/v1/machine/shell", "/api/v1/machine/console/attach", "/kubernetes/api/v1/pods?watch=1"] {
        for origin in &others {
            let origin = origin.as_ref().map(|o| format!("Origin: {o}"));
            let headers: Vec<&str> = std::iter::once(native.as_str()).chain(origin.as_deref()).collect();
            assert_eq!(house.talk(&own, path, &headers).await.0.status, 403, "{path} from {origin:?}");
        }
        // A browser that says so itself, and a name of somebody's who points it at this computer.
        let origin = format!("Origin: http://{own}");
        let cross = [native.as_str(), &origin, "Sec-Fetch-Site: cross-site"];
        assert_eq!(house.talk(&own, path, &cross).await.0.status, 403, "{path}");
        let rebound = house.at("evil.example");
        let origin = format!("Origin: http://{rebound}");
        for who in [native.as_str(), &house.bearer()] {
            assert_eq!(house.talk(&rebound, path, &[who, &origin]).await.0.status, 403, "{path}");
        }
        assert_eq!(house.talk(&own, path, &[&format!("Origin: http://{own}")]).await.0.status, 401, "{path}");
    }
    let desk = house.at("desktop.localhost");
    for origin in [None, Some("http://evil.example".to_owned()), Some(format!("http://{own}"))] {
        let origin = origin.map(|o| format!("Origin: {o}"));
        let headers: Vec<&str> = std::iter::once(desktop.as_str()).chain(origin.as_deref()).collect();
        assert_eq!(house.talk(&desk, "/ws", &headers).await.0.status, 403, "{origin:?}");
        let post = [headers, JSON.to_vec()].concat();
        assert_eq!(house.ask("POST", &desk, "/api/v1/x", &post).await.status, 403, "{origin:?}");
        assert_eq!(house.ask("DELETE", &desk, "/api/v1/x", &post).await.status, 403, "{origin:?}");
    }
    let origin = format!("Origin: http://{desk}");
    let post = [&[desktop.as_str(), &origin], &JSON[..]].concat();
    assert_eq!(house.ask("POST", &desk, "/api/v1/x", &post).await.status, 200);
}

#[tokio::test]
async fn the_raw_cluster_is_for_programs_and_what_it_serves_is_no_page_of_ours() {
    let house = House::open().await;
    let native = house.signed_in(Surface::Native).await;
    let own = house.at("alcove.localhost");
    let pod = "/kubernetes/api/v1/namespaces/x/services/evil/proxy/";
    let origin = format!("Origin: http://{own}");
    for headers in [vec![native.as_str()], vec![&native, &origin, "Sec-Fetch-Site: same-origin"]] {
        let refused = house.get(&own, pod, &headers).await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &"forbidden".into()), "{}", refused.body);
    }
    let served = house.get(&house.at("127.0.0.1"), pod, &[&house.bearer()]).await;
    assert_eq!(served.status, 200, "{}", served.head);
    assert_eq!(served.json()["path"], "/api/v1/namespaces/x/services/evil/proxy/");
    assert_eq!(served.json()["headers"]["authorization"], serde_json::Value::Null, "the token goes no further");
    assert_eq!(served.header("set-cookie"), None);
    assert!(served.header("content-security-policy").unwrap().contains("sandbox"), "{}", served.head);
    assert_eq!(served.header("x-content-type-options"), Some("nosniff"));

    let log = house.get(&own, "/api/v1/machine/logs?source=k3s", &[&native]).await;
    assert_eq!((log.status, log.header("content-type")), (200, Some("text/plain; charset=utf-8")), "{}", log.head);
    assert_eq!((log.header("set-cookie"), log.header("x-content-type-options")), (None, Some("nosniff")));
}

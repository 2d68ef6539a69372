//! Files from a web server: a range of them, redirects, and what its refusals mean.

use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};

use alcove_machine::image::MANIFEST;
use alcove_types::{ApiError, ErrorCode};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    Patience,
    source::{Body, Opened, Stop, broken_off},
    way::Way,
};

/// As many times a server may send us elsewhere.
const REDIRECTS: usize = 5;

/// A folder on a web server.
pub(super) struct Web {
    /// The folder's address; ends with a slash.
    base: String,
    client: Client<HttpsConnector<Way>, Empty<Bytes>>,
    way: Way,
    stall: Duration,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("base", &self.base).finish_non_exhaustive()
    }
}

/// The rest of an answer.
pub(super) struct Answer {
    body: Incoming,
    place: String,
    stall: Duration,
}

impl Web {
    /// The folder at an address, which may name its manifest. Asks for nothing yet.
    pub(super) fn new(address: &str, patience: &Patience) -> Result<Self, ApiError> {
        let bad = |why: &str| {
            ApiError::new(
                ErrorCode::BadRequest,
                format!("{address:?} is not an address that an image can be brought from: {why}."),
                "Write an address such as `https://server/images/version/`, which holds `manifest.json`.",
            )
        };
        let uri: Uri = address.parse().map_err(|_| bad("it can't be understood"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it begins with neither `https://` nor `http://`")),
        };
        if uri.authority().is_none_or(|a| a.as_str().contains('@')) {
            return Err(bad("a name and a password can't stand in it"));
        }
        if uri.query().is_some() || address.contains('#') {
            return Err(bad("nothing may follow its path"));
        }
        let base = address.strip_suffix(MANIFEST).unwrap_or(address).trim_end_matches('/');
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(patience.connect));
        http.set_nodelay(true);
        let way = Way::new(http);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(secure)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(way.clone());
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { base: format!("{base}/"), client, way, stall: patience.stall })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Begins to read a file from a byte on; see [`super::source::Source::open`].
    pub(super) async fn open(&self, name: &str, from: u64, tag: Option<&str>) -> Result<Opened, Stop> {
        let place = format!("{}{name}", self.base);
        let response = self.get(&place, from, tag).await?;
        let headers = response.headers();
        let length = number(headers, &header::CONTENT_LENGTH);
        let (from, total) = match response.status() {
            StatusCode::PARTIAL_CONTENT => part(headers)
                .ok_or_else(|| Stop::for_good(strange(&place, "a part of the file without saying which")))?,
            StatusCode::OK => (0, length),
            // The server has less than we have: the whole file again, to see what is right.
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return Box::pin(self.open(name, 0, None)).await,
            status => return Err(refused(status, &place)),
        };
        let tag = validator(headers);
        let body = Body::Web(Answer { body: response.into_body(), place, stall: self.stall });
        Ok(Opened { from, total, tag, body })
    }

    async fn get(&self, place: &str, from: u64, tag: Option<&str>) -> Result<Response<Incoming>, Stop> {
        let mut at = place.to_owned();
        for _ in 0..=REDIRECTS {
            let strange = |what: &str| Stop::for_good(strange(place, what));
            let uri: Uri = at.parse().map_err(|_| strange("an address that can't be understood"))?;
            let mut request = Request::get(uri.clone())
                .header(header::USER_AGENT, concat!("alcove/", env!("CARGO_PKG_VERSION")))
                .header(header::ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
                if let Some(tag) = tag {
                    request = request.header(header::IF_RANGE, tag);
                }
            }
            if let Some(authorization) = self.way.proxy_authorization(&uri) {
                request = request.header(header::PROXY_AUTHORIZATION, authorization);
            }
            let request = request.body(Empty::new()).map_err(|e| strange(&e.to_string()))?;
            let response = timeout(self.stall, self.client.request(request))
                .await
                .map_err(|_| Stop::for_now(silent(place)))?
                .map_err(|e| Stop::for_now(unreachable(place, &e)))?;
            let Some(to) = redirect(&response) else { return Ok(response) };
            let to = joined(&at, to).ok_or_else(|| strange("an address that can't be understood"))?;
            let unsafer = at.starts_with("https:") && !to.starts_with("https:");
            if unsafer || (in_the_clear(&to) && !in_the_clear(&at)) {
                return Err(strange("an address without encryption"));
            }
            at = to;
        }
        Err(Stop::for_good(strange(place, "one address after the other")))
    }
}

impl Answer {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Stop> {
        loop {
            let frame = timeout(self.stall, self.body.frame()).await.map_err(|_| Stop::for_now(silent(&self.place)))?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Stop::for_now(broken_off(Path::new(&self.place)))),
                // What is no data is of no interest here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Whether what comes from an address can be read and changed by others on its way.
pub(super) fn in_the_clear(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    uri.scheme_str() == Some("http") && !here
}

/// Trusts who the system trusts.
fn tls(needed: bool) -> Result<ClientConfig, ApiError> {
    let mut roots = RootCertStore::empty();
    // A redirect may lead to encryption, too.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() && needed {
        return Err(ApiError::new(
            ErrorCode::Unsupported,
            "This computer has no list of trusted certificates, so `https` addresses can't be checked.",
            "Install the package `ca-certificates`, or bring the image from a folder.",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("TLS can't be used: {e}."), "Report this."))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn number(headers: &HeaderMap, name: &header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// First byte and whole length of `bytes 5-9/10`.
fn part(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes ")?;
    let (bytes, total) = range.split_once('/')?;
    Some((bytes.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}

/// What a later request may be held against: a strong tag, else the time of the last change.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
    let strong = text(header::ETAG).filter(|tag| tag.starts_with('"'));
    strong.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned)
}

fn redirect<T>(response: &Response<T>) -> Option<&str> {
    let status = response.status();
    let moved = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    moved.then(|| response.headers().get(header::LOCATION)?.to_str().ok()).flatten()
}

/// Where `to` leads from `at`.
fn joined(at: &str, to: &str) -> Option<String> {
    let (scheme, rest) = at.split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some(match to {
        _ if to.contains("://") => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{host}{to}"),
        _ => {
            let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            format!("{scheme}://{host}/{folder}{to}")
        }
    })
}

fn refused(status: StatusCode, place: &str) -> Stop {
    let for_good = |code, message: String, hint: &str| Stop::for_good(ApiError::new(code, message, hint));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => for_good(
            ErrorCode::NotFound,
            format!("The server has no {place}."),
            "Check the address: it must hold `manifest.json` and the files of a guest image.",
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => for_good(
            ErrorCode::Forbidden,
            format!("The server does not give out {place} (it says {status})."),
            "Use an address that needs no login, or download the image and bring it from its folder.",
        ),
        _ if status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) =>
        {
            Stop::for_now(ApiError::new(
                ErrorCode::SourceUnreachable,
                format!("The server can't give out {place} now (it says {status})."),
                "Try again later: it goes on where it stopped.",
            ))
        }
        _ => Stop::for_good(strange(place, &format!("{status}"))),
    }
}

fn strange(place: &str, what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::SourceUnreachable,
        format!("The server answers {place} with {what}."),
        "Check the address, or download the image and bring it from its folder.",
    )
}

fn silent(place: &str) -> ApiError {
    ApiError::new(
        ErrorCode::SourceUnreachable,
        format!("The server of {place} stopped answering."),
        "Check the network, then ask again: it goes on where it stopped.",
    )
}

fn unreachable(place: &str, error: &Error) -> ApiError {
    // The innermost error says why: refused, no such name, a certificate.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    ApiError::new(
        ErrorCode::SourceUnreachable,
        format!("{place} can't be reached: {cause}."),
        "Check the network and the address, then ask again. Without a network, bring the image from a folder.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let at = "https://a.example/images/1/root.erofs";
        for (to, leads) in [
            ("https://b.example/x", "https://b.example/x"),
            ("//b.example/x", "https://b.example/x"),
            ("/x", "https://a.example/x"),
            ("x", "https://a.example/images/1/x"),
        ] {
            assert_eq!(joined(at, to).unwrap(), leads);
        }
        assert_eq!(joined("http://a.example", "x").unwrap(), "http://a.example/x");
    }

    #[test]
    fn only_this_computer_needs_no_encryption() {
        for address in
            ["http://a.example/", "HTTP://10.0.0.1:8080/x", "http://localhost.evil.example/", "http://[fd00::1]/"]
        {
            assert!(in_the_clear(address), "{address}");
        }
        for address in ["https://a.example/", "http://127.0.0.1:8080/x", "http://[::1]/", "http://LOCALHOST/", "/stick"]
        {
            assert!(!in_the_clear(address), "{address}");
        }
    }

    #[test]
    fn addresses_that_can_not_be_are_refused_with_what_they_should_be() {
        for address in ["ftp://a/b", "https://u:p@a/b", "https://a/b?c", "https://a/b#c", "https://", "http://a b/"] {
            let error = Web::new(address, &Patience::default()).err().unwrap();
            assert_eq!(error.code, ErrorCode::BadRequest, "{address}");
            assert!(error.hint.contains("manifest.json"));
        }
        for address in ["http://a/b", "http://a/b/", "http://a/b/manifest.json"] {
            assert_eq!(Web::new(address, &Patience::default()).unwrap().base(), "http://a/b/");
        }
    }

    #[test]
    fn only_what_is_surely_the_same_is_taken_for_the_same() {
        let mut headers = HeaderMap::new();
        assert_eq!(validator(&headers), None);
        headers.insert(header::ETAG, "W/\"weak\"".parse().unwrap());
        assert_eq!(validator(&headers), None);
        headers.insert(header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT".parse().unwrap());
        assert_eq!(validator(&headers).unwrap(), "Thu, 01 Jan 2026 00:00:00 GMT");
        headers.insert(header::ETAG, "\"strong\"".parse().unwrap());
        assert_eq!(validator(&headers).unwrap(), "\"strong\"");
    }
}

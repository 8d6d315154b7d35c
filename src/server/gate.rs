//! The strict gate of a WebSocket upgrade. Whatever a proxy in front could read in two ways is
//! refused: one `Host`, no body, a key of 16 bytes, version 13 (RFC 6455 section 4.2.1).

use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The only WebSocket version there is.
pub const VERSION: &str = "13";

/// Why a request is no upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnUpgrade {
    /// 400, or 426 when asking differently would help.
    pub status: StatusCode,
    /// One safe sentence.
    pub detail: &'static str,
}

const fn bad(detail: &'static str) -> NotAnUpgrade {
    NotAnUpgrade { status: StatusCode::BAD_REQUEST, detail }
}

const fn upgrade(detail: &'static str) -> NotAnUpgrade {
    NotAnUpgrade { status: StatusCode::UPGRADE_REQUIRED, detail }
}

/// The value of `Sec-WebSocket-Accept` for a good upgrade request.
///
/// # Errors
/// What is wrong with it.
pub fn accept<B>(request: &Request<B>) -> Result<String, NotAnUpgrade> {
    let headers = request.headers();
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return Err(bad("an upgrade is a GET over HTTP/1.1"));
    }
    if headers.get_all(header::HOST).iter().count() != 1 {
        return Err(bad("an upgrade has one Host"));
    }
    if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(bad("an upgrade has no body"));
    }
    if !has_token(headers, header::UPGRADE, "websocket") || !has_token(headers, header::CONNECTION, "upgrade")
    {
        return Err(upgrade("this path speaks WebSocket: send Connection: Upgrade and Upgrade: websocket"));
    }
    if single(headers, header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(upgrade("Sec-WebSocket-Version must be 13"));
    }
    let key =
        single(headers, header::SEC_WEBSOCKET_KEY).ok_or(bad("Sec-WebSocket-Key must be there, once"))?;
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(16) {
        return Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    Ok(tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes()))
}

/// Whether a browser may come from where it does: no `Origin` is no browser; else it must be the
/// relay's own, or a configured one.
pub fn origin_is_allowed(headers: &HeaderMap, configured: &[String]) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let Some(origin) = single(headers, header::ORIGIN) else { return false };
    if configured.iter().any(|allowed| allowed == origin) {
        return true;
    }
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some() && authority == single(headers, header::HOST)
}

/// The sub-protocols a client offers.
pub fn offers_protocol(headers: &HeaderMap, protocol: &str) -> bool {
    has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// The rest of the first sub-protocol that begins like that.
pub fn offered(headers: &HeaderMap, prefix: &str) -> Option<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.find_map(|name| name.trim().strip_prefix(prefix).map(str::to_owned))
}

fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("host", "relay.test"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_good_upgrade_gets_the_accept_value_of_the_rfc() {
        assert_eq!(accept(&request(GOOD)), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let with = |name, value| [GOOD, &[(name, value)]].concat();
        let without = |name| GOOD.iter().copied().filter(|(have, _)| *have != name).collect::<Vec<_>>();
        let instead = |name, value| [without(name), vec![(name, value)]].concat();
        for (fields, status) in [
            (with("host", "other.test"), 400),
            (without("host"), 400),
            (with("content-length", "0"), 400),
            (with("transfer-encoding", "chunked"), 400),
            (without("upgrade"), 426),
            (instead("upgrade", "h2c"), 426),
            (without("connection"), 426),
            (instead("connection", "close"), 426),
            (without("sec-websocket-version"), 426),
            (instead("sec-websocket-version", "8"), 426),
            (without("sec-websocket-key"), 400),
            (instead("sec-websocket-key", "abc"), 400),
            (instead("sec-websocket-key", "c2hvcnQ="), 400),
            (with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), 400),
        ] {
            let refused = accept(&request(&fields)).expect_err("refused");
            assert_eq!(refused.status.as_u16(), status, "{fields:?}");
        }
    }

    #[test]
    fn a_post_and_old_http_are_refused() {
        let mut post = request(GOOD);
        *post.method_mut() = Method::POST;
        assert!(accept(&post).is_err());
        let mut old = request(GOOD);
        *old.version_mut() = Version::HTTP_10;
        assert!(accept(&old).is_err());
    }

    #[test]
    fn browsers_come_from_the_relay_or_a_configured_place_only() {
        let configured = ["https://app.test".to_owned()];
        for (origin, allowed) in [
            (None, true),
            (Some("https://app.test"), true),
            (Some("https://app.test:444"), false),
            (Some("http://app.test"), false),
            (Some("https://app.test.evil.test"), false),
            (Some("https://APP.test"), false),
            (Some("null"), false),
            (Some(""), false),
            (Some("https://relay.test"), true),
            (Some("https://relay.test.evil.test"), false),
        ] {
            let mut fields = GOOD.to_vec();
            fields.extend(origin.map(|origin| ("origin", origin)));
            let request = request(&fields);
            assert_eq!(origin_is_allowed(request.headers(), &configured), allowed, "{origin:?}");
        }
        let twice = [GOOD, &[("origin", "https://app.test"), ("origin", "https://app.test")]].concat();
        assert!(!origin_is_allowed(request(&twice).headers(), &configured));
    }

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri("/v1/stream");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request")
    }
}

//! RFC 6455, held to by both ends: the listener with its production acceptor, settings and socket code,
//! and the link to a vendor.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "conformance/autobahn.rs"]
mod autobahn;
#[path = "conformance/echo.rs"]
mod echo;
#[path = "conformance/native.rs"]
mod native;
#[path = "conformance/own.rs"]
mod own;
#[path = "conformance/raw.rs"]
mod raw;
mod support;

//! The native protocol (stub).

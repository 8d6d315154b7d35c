//! The wire formats and state machines of voxrelay.
//!
//! Everything here is a value or a function of values: bytes and the time go in, frames, events and
//! actions come out. There is no clock, no socket, no task and no randomness in this crate; whoever
//! uses it brings those. That is what lets a conversation of minutes be tested in microseconds.
//!
//! A client speaks a *dialect* ([`dialect::ClientDialect`]): its frames become [`Request`]s and
//! [`Reply`]s become its frames. An upstream is spoken to by a *provider* ([`provider::Provider`]):
//! [`Command`]s become its frames and its frames become [`Event`]s. The [`session`] between them
//! decides what happens next.

pub mod audio;
pub mod command;
pub mod dialect;
pub mod event;
pub mod fault;
pub mod frame;
pub mod health;
pub mod pace;
pub mod provider;
pub mod reply;
pub mod request;
pub mod segment;
pub mod session;
pub mod slots;
pub mod transcript;
pub mod vendor;
pub mod words;

pub use audio::{AudioFormat, Container, Encoding};
pub use command::{Command, ContextId, SynthesisSpec};
pub use event::{Event, Word};
pub use fault::{Fault, FaultClass, FaultCode, FaultKind, QuotaScope, Refusal, UpstreamFault};
pub use frame::{Frame, FrameRef};
pub use reply::Reply;
pub use request::{Request, Start, StreamName};

/// Runs the examples of the specification.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Specification;

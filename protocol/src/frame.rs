//! What a transport carries, whatever the transport.

use bytes::Bytes;

/// One message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message; always valid UTF-8.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

impl Frame {
    /// Payload length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same message as a peer would receive it.
    #[must_use]
    pub fn as_ref(&self) -> FrameRef<'_> {
        match self {
            Self::Text(text) => FrameRef::Text(text),
            Self::Binary(bytes) => FrameRef::Binary(bytes),
        }
    }
}

/// One message that has arrived, borrowed from the transport's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameRef<'a> {
    /// A text message; always valid UTF-8.
    Text(&'a str),
    /// A binary message; cloning the `Bytes` shares it without a copy.
    Binary(&'a Bytes),
}

//! What a key may do.

/// One thing a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Speak.
    Synthesize,
    /// List voices.
    VoicesRead,
    /// Read its own limits and use.
    UsageRead,
}

impl Scope {
    /// Every scope; what a key may do when nothing else is said.
    pub const ALL: [Self; 3] = [Self::Synthesize, Self::VoicesRead, Self::UsageRead];

    /// As written on the command line and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synthesize => "synthesize",
            Self::VoicesRead => "voices:read",
            Self::UsageRead => "usage:read",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

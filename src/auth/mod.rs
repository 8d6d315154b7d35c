//! Who is calling: from a credential to a [`Caller`], and word to live sessions when their key ends.

mod caller;
mod check;
mod table;
mod throttle;
mod tokens;
mod watch;

pub use caller::Caller;
pub use check::{Authenticator, Checked};
pub use throttle::Throttle;
pub use tokens::{LONGEST as LONGEST_TOKEN, PREFIX as TOKEN_PREFIX, Tokens};

//! Addresses with names of a vendor's or a client's choosing in them.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An address that grows from left to right: path segments first, then the query.
pub struct Address {
    text: String,
    asked: bool,
}

impl Address {
    /// Begins with a base, with or without a slash at its end.
    pub fn new(base: &str) -> Self {
        Self { text: base.trim_end_matches('/').to_owned(), asked: false }
    }

    /// One more segment of the path, whatever is in it.
    pub fn segment(mut self, segment: &str) -> Self {
        self.text.push('/');
        self.text.extend(utf8_percent_encode(segment, &KEPT));
        self
    }

    /// One more parameter of the query.
    pub fn ask(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.asked { '&' } else { '?' });
        self.asked = true;
        let _ = write!(self.text, "{name}={}", utf8_percent_encode(value, &KEPT));
        self
    }

    /// The whole address.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_gets_out_of_its_place() {
        let address = Address::new("ws://h/x/").segment("a/b?c").ask("m", "d&e=f#g").ask("n", "1.5");
        assert_eq!(address.finish(), "ws://h/x/a%2Fb%3Fc?m=d%26e%3Df%23g&n=1.5");
    }
}

//! The codecs against frames no vendor should send.

use proptest::prelude::*;

use super::provider::Rime;
use crate::vendor::mangled;

proptest! {
    #[test]
    fn no_frame_panics(frames in prop::collection::vec(mangled::frame("rime"), 0..12)) {
        mangled::endure(&Rime, &frames);
    }
}

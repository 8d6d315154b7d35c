//! The codec against frames no vendor should send.

use proptest::prelude::*;

use super::provider::FishAudio;
use crate::vendor::mangled;

proptest! {
    #[test]
    fn no_frame_panics(frames in prop::collection::vec(mangled::frame("fish-audio"), 0..12)) {
        mangled::endure(&FishAudio, &frames);
    }
}

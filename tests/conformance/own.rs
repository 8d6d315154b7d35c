//! The project's own table of RFC 6455 cases, sent to the echo in one segment, frame by frame, and byte
//! by byte.

use std::net::SocketAddr;

use super::echo;
use super::raw::{BINARY, CLOSE, CONTINUATION, FIN, Heard, PING, PONG, Raw, TEXT, close, frame, unmasked};

/// Above this a case is cut into pieces of a prime length instead of single bytes.
const DRIP_BYTES: usize = 4_000;
const PIECE: usize = 997;

/// What is sent, what comes back, and how it ends.
struct Case {
    what: &'static str,
    sent: Vec<Vec<u8>>,
    back: Vec<(u8, Vec<u8>)>,
    end: End,
}

/// How a case ends.
#[derive(Clone, Copy)]
enum End {
    /// The session goes on: it can be closed in peace.
    Open,
    /// The relay closes with this code.
    Closed(u16),
    /// The relay answers with a close without a code.
    ClosedWithoutCode,
}
use End::{Closed, ClosedWithoutCode, Open};

fn case(what: &'static str, sent: Vec<Vec<u8>>, back: &[(u8, &[u8])], end: End) -> Case {
    Case { what, sent, back: back.iter().map(|(code, data)| (*code, data.to_vec())).collect(), end }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_fragments() {
    let text = |payload: &[u8]| frame(FIN | TEXT, payload);
    let begin = |payload: &[u8]| frame(TEXT, payload);
    let (more, last) =
        (|data: &[u8]| frame(CONTINUATION, data), |data: &[u8]| frame(FIN | CONTINUATION, data));
    let euro = "\u{20ac}".as_bytes(); // three bytes, cut after the first
    hold(vec![
        case("an empty text", vec![text(b"")], &[(TEXT, b"")], Open),
        case("an empty binary", vec![frame(FIN | BINARY, b"")], &[(BINARY, b"")], Open),
        case(
            "several messages",
            vec![text(b"a"), frame(FIN | BINARY, &[0, 255]), text(b"c")],
            &[(TEXT, b"a"), (BINARY, &[0, 255]), (TEXT, b"c")],
            Open,
        ),
        case("three fragments", vec![begin(b"a"), more(b"b"), last(b"c")], &[(TEXT, b"abc")], Open),
        case("empty fragments", vec![begin(b""), more(b""), last(b"")], &[(TEXT, b"")], Open),
        case(
            "a binary in fragments",
            vec![frame(BINARY, &[0xff]), last(&[0xfe])],
            &[(BINARY, &[0xff, 0xfe])],
            Open,
        ),
        case(
            "a character cut by fragments",
            vec![begin(&euro[..1]), last(&euro[1..])],
            &[(TEXT, euro)],
            Open,
        ),
        case(
            "a ping within a message",
            vec![begin(b"a"), frame(FIN | PING, b"p"), last(b"b")],
            &[(PONG, b"p"), (TEXT, b"ab")],
            Open,
        ),
        case("a continuation of nothing", vec![last(b"a")], &[], Closed(1002)),
        case(
            "a continuation after a whole message",
            vec![text(b"a"), more(b"b")],
            &[(TEXT, b"a")],
            Closed(1002),
        ),
        case("a text within a text", vec![begin(b"a"), text(b"b")], &[], Closed(1002)),
        case("a binary within a text", vec![begin(b"a"), frame(BINARY, b"b")], &[], Closed(1002)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_at_every_border() {
    let lengths = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1_048_576];
    let cases = lengths.map(|length| {
        let payload: Vec<u8> = (0..length).map(|place: usize| place as u8).collect();
        case("a binary", vec![frame(FIN | BINARY, &payload)], &[(BINARY, &payload)], Open)
    });
    hold(cases.into()).await;
    let mut long = vec![FIN | BINARY, 0xff];
    long.extend((1_u64 << 63 | 5).to_be_bytes());
    long.extend([0; 4]); // the mask
    hold(vec![case("a length with the highest bit", vec![long], &[], Closed(1009))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_frames() {
    let full = [7; 125];
    let mut cases = vec![
        case("a ping", vec![frame(FIN | PING, b"")], &[(PONG, b"")], Open),
        case("a ping of bytes", vec![frame(FIN | PING, &[0, 0xff, 0xfe])], &[(PONG, &[0, 0xff, 0xfe])], Open),
        case("the longest ping", vec![frame(FIN | PING, &full)], &[(PONG, &full)], Open),
        case(
            "a pong nobody asked for",
            vec![frame(FIN | PONG, b"x"), frame(FIN | PING, b"y")],
            &[(PONG, b"y")],
            Open,
        ),
    ];
    for (what, code) in [("a long ping", PING), ("a long pong", PONG), ("a long close", CLOSE)] {
        cases.push(case(what, vec![frame(FIN | code, &[b'a'; 126])], &[], Closed(1002)));
    }
    for (what, code) in [("a ping in parts", PING), ("a pong in parts", PONG), ("a close in parts", CLOSE)] {
        let parts = vec![frame(code, &[3, 232]), frame(FIN | CONTINUATION, b"")];
        cases.push(case(what, parts, &[], Closed(1002)));
    }
    hold(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reserved_and_what_is_not_masked() {
    let mut cases = Vec::new();
    for bits in 1..=7 {
        for code in [TEXT, BINARY, PING, PONG, CLOSE] {
            let sent = vec![frame(FIN | TEXT, b"a"), frame(FIN | bits << 4 | code, b"")];
            cases.push(case("reserved bits", sent, &[(TEXT, b"a")], Closed(1002)));
        }
    }
    for code in (3..=7).chain(11..=15) {
        cases.push(case("a reserved opcode", vec![frame(FIN | code, b"")], &[], Closed(1002)));
        cases.push(case("a reserved opcode with data", vec![frame(FIN | code, b"abc")], &[], Closed(1002)));
    }
    for code in [TEXT, BINARY, PING, PONG, CLOSE] {
        cases.push(case("a frame without a mask", vec![unmasked(FIN | code, &[3, 232])], &[], Closed(1002)));
    }
    hold(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8() {
    let bad: [&[u8]; 12] = [
        &[0x80],
        &[0xff],
        &[0xc3],                               // cut short
        &[0xc3, 0x28],                         // not continued
        &[0xc0, 0xaf],                         // overlong
        &[0xe0, 0x80, 0xaf],                   // overlong
        &[0xed, 0xa0, 0x80],                   // half of a surrogate pair
        &[0xf4, 0x90, 0x80, 0x80],             // above U+10FFFF
        &[0xf8, 0x88, 0x80, 0x80, 0x80],       // five bytes
        &[0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xed], // a good begin
        &[0xe2, 0x82],                         // two of three
        &[0xf0, 0x9f, 0x98],                   // three of four
    ];
    let mut cases = Vec::new();
    for bytes in bad {
        cases.push(case("bad text", vec![frame(FIN | TEXT, bytes)], &[], Closed(1007)));
        let parts =
            vec![frame(TEXT, b"good "), frame(CONTINUATION, bytes), frame(FIN | CONTINUATION, b" good")];
        cases.push(case("bad text within fragments", parts, &[], Closed(1007)));
        let reason = [&[3, 232], bytes].concat();
        cases.push(case("a bad reason", vec![frame(FIN | CLOSE, &reason)], &[], Closed(1007)));
    }
    for good in
        ["\u{0}", "\u{7f}\u{80}\u{7ff}\u{800}", "\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}", "\u{feff}a"]
    {
        let good = good.as_bytes();
        cases.push(case("good text", vec![frame(FIN | TEXT, good)], &[(TEXT, good)], Open));
    }
    hold(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closing_handshake() {
    let mut cases = vec![
        case("no code", vec![frame(FIN | CLOSE, b"")], &[], ClosedWithoutCode),
        case("half a code", vec![frame(FIN | CLOSE, &[3])], &[], Closed(1002)),
        case("the longest reason", vec![close(1000, &[b'a'; 123])], &[], Closed(1000)),
        case("within a message", vec![frame(TEXT, b"a"), close(1001, b"bye")], &[], Closed(1001)),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        cases.push(case("a code that may be sent", vec![close(code, b"why")], &[], Closed(code)));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(case("a code that may not", vec![close(code, b"why")], &[], Closed(1002)));
    }
    hold(cases).await;
}

/// Runs each case three ways.
async fn hold(cases: Vec<Case>) {
    let address = echo::listen(echo::generous()).await;
    for case in &cases {
        let whole = case.sent.concat();
        let step = if whole.len() > DRIP_BYTES { PIECE } else { 1 };
        let drip: Vec<_> = whole.chunks(step).map(<[u8]>::to_vec).collect();
        for (way, pieces) in [("at once", vec![whole]), ("by frame", case.sent.clone()), ("by byte", drip)] {
            judge(address, case, way, &pieces).await;
        }
    }
}

async fn judge(address: SocketAddr, case: &Case, way: &str, pieces: &[Vec<u8>]) {
    let mut raw = Raw::open(address, "/", "").await;
    for piece in pieces {
        raw.send(piece).await;
    }
    let told = format!(
        "{}, {way}: {:x?}",
        case.what,
        case.sent.iter().map(|f| &f[..f.len().min(24)]).collect::<Vec<_>>()
    );
    for (code, payload) in &case.back {
        let heard = raw.hear().await;
        assert!(heard == Heard::Frame(*code, payload.clone()), "{told}: {}", short(&heard));
    }
    if let Open = case.end {
        raw.send(&close(1000, b"")).await;
    }
    let heard = raw.hear().await;
    let Heard::Frame(CLOSE, payload) = &heard else { panic!("{told}: {}", short(&heard)) };
    match case.end {
        Open => assert_eq!(payload, &[3, 232], "{told}"),
        Closed(code) => assert_eq!(payload.first_chunk(), Some(&code.to_be_bytes()), "{told}"),
        ClosedWithoutCode => assert_eq!(payload, b"", "{told}"),
    }
    // Whoever has said goodbye first waits for the end.
    if !matches!(case.end, Open) && case.sent.iter().all(|frame| frame[0] & 0x0f != CLOSE) {
        raw.send(&frame(FIN | CLOSE, payload)).await;
    }
    assert_eq!(raw.hear().await, Heard::End, "{told}");
}

fn short(heard: &Heard) -> String {
    match heard {
        Heard::Frame(code, payload) => {
            format!(
                "frame {code} of {} bytes, {:?}",
                payload.len(),
                String::from_utf8_lossy(&payload[..payload.len().min(80)])
            )
        }
        other => format!("{other:?}"),
    }
}

//! Streams and their audio, as far as it does not depend on the upstream.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use voxrelay_protocol::FaultCode;

use super::catalogue as row;
use super::labels::{CancelStep, Direction, DropReason, Label, LinkKind, Part, Phase, Point, Queue};
use super::recorder::{Family, Seconds, counter, gauge, histogram};
use super::upstream::{Held, UpstreamMetrics, float};

struct Streams {
    errors: Family<FaultCode, Counter>,
    parts: Family<Part, Histogram>,
    chunk_delay: Histogram,
    audio: Family<Direction, Counter>,
    dropped: Family<DropReason, Counter>,
    cancel: Family<CancelStep, Histogram>,
    paced: Gauge,
    pace_late: Histogram,
    buffers: Family<Queue, Gauge>,
    backpressure: Family<Point, Seconds>,
    slow_consumers: Family<LinkKind, Counter>,
    usage: Counter,
}

static STREAMS: LazyLock<Streams> = LazyLock::new(|| Streams {
    errors: Family::new(|code: FaultCode| counter(&row::STREAM_ERRORS, &[code.text()])),
    parts: Family::new(|part: Part| histogram(&row::FIRST_AUDIO_PART_SECONDS, &[part.text()])),
    chunk_delay: histogram(&row::CHUNK_DELAY_SECONDS, &[]),
    audio: Family::new(|direction: Direction| counter(&row::AUDIO_BYTES, &[direction.text()])),
    dropped: Family::new(|reason: DropReason| counter(&row::AUDIO_DROPPED_BYTES, &[reason.text()])),
    cancel: Family::new(|step: CancelStep| histogram(&row::CANCEL_SECONDS, &[step.text()])),
    paced: gauge(&row::PACED_STREAMS, &[]),
    pace_late: histogram(&row::PACE_LATE_SECONDS, &[]),
    buffers: Family::new(|queue: Queue| gauge(&row::BUFFER_BYTES, &[queue.text()])),
    backpressure: Family::new(|point: Point| Seconds::new(&row::BACKPRESSURE_SECONDS, &[point.text()])),
    slow_consumers: Family::new(|link: LinkKind| counter(&row::SLOW_CONSUMERS, &[link.text()])),
    usage: counter(&row::USAGE_RECORDS, &[]),
});

pub(super) fn expose_streams() {
    LazyLock::force(&STREAMS);
}

/// A stream failed or was refused with this code (besides [`UpstreamMetrics::stream_ended`]).
pub fn stream_failed(code: FaultCode) {
    STREAMS.errors.of(code).increment(1);
}

/// One part of the time to a first audio.
pub fn first_audio_part(part: Part, took: Duration) {
    STREAMS.parts.of(part).record(took);
}

/// From the upstream's socket to the client's, for one chunk.
pub fn chunk_delay(took: Duration) {
    STREAMS.chunk_delay.record(took);
}

/// Audio was received from an upstream or sent to a client.
pub fn audio_bytes(direction: Direction, bytes: usize) {
    STREAMS.audio.of(direction).increment(bytes as u64);
}

/// Audio was thrown away.
pub fn audio_dropped(reason: DropReason, bytes: usize) {
    STREAMS.dropped.of(reason).increment(bytes as u64);
}

/// A step of a cancel took this long.
pub fn cancelled(step: CancelStep, took: Duration) {
    STREAMS.cancel.of(step).record(took);
}

/// A paced stream runs until the guard is dropped.
pub fn paced_stream() -> Held {
    Held::one(&STREAMS.paced)
}

/// A paced frame was this late.
pub fn pace_late(by: Duration) {
    STREAMS.pace_late.record(by);
}

/// Bytes entered a queue.
pub fn buffered(queue: Queue, bytes: usize) {
    STREAMS.buffers.of(queue).increment(float(bytes));
}

/// Bytes left a queue.
pub fn unbuffered(queue: Queue, bytes: usize) {
    STREAMS.buffers.of(queue).decrement(float(bytes));
}

/// Somebody waited this long for room.
pub fn backpressure(point: Point, waited: Duration) {
    STREAMS.backpressure.of(point).add(waited);
}

/// A stream ended because its client did not read.
pub fn slow_consumer(link: LinkKind) {
    STREAMS.slow_consumers.of(link).increment(1);
}

/// A stream moved to another upstream.
pub fn failover(from: &UpstreamMetrics, to: &UpstreamMetrics, phase: Phase) {
    counter(&row::FAILOVERS, &[from.name(), to.name(), phase.text()]).increment(1);
}

/// A usage record was written.
pub fn usage_recorded() {
    STREAMS.usage.increment(1);
}

//! Frames to slices, in the writer of a connection.
//!
//! Invariant: a body of more than [`INLINE`] bytes is never copied; small ones are, because a slice of its own costs more.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use seedmq_core::wire::{Frame, codec};

/// Largest body that is copied behind its head.
const INLINE: usize = 2048;

/// What a frame is counted as in the queue of its connection: its bodies and a typical head.
pub(super) fn cost(frame: &Frame) -> usize {
    256 + body_len(frame)
}

fn body_len(frame: &Frame) -> usize {
    frame.body.len() + frame.rest.iter().map(Bytes::len).sum::<usize>()
}

/// Appends the slices of `frames` to `slices`. `heads` is scratch space that is used again.
pub(super) fn encode(frames: &[Frame], heads: &mut BytesMut, slices: &mut VecDeque<Bytes>) {
    for frame in frames {
        codec::encode_head(frame, heads);
        if body_len(frame) <= INLINE {
            heads.extend_from_slice(&frame.body);
            frame.rest.iter().for_each(|slice| heads.extend_from_slice(slice));
        } else {
            slices.push_back(heads.split().freeze());
            slices.extend([&frame.body].into_iter().chain(&frame.rest).filter(|slice| !slice.is_empty()).cloned());
        }
    }
    if !heads.is_empty() {
        slices.push_back(heads.split().freeze());
    }
}

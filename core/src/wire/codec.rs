//! Frames to bytes and back: length field, type byte, header, body.
//!
//! ```text
//! | length 4 | type 1 | header length 3 | header | body |      length = 4 + header + body, big-endian
//! ```
//!
//! Invariant: [`decode`] reserves nothing for a frame that is not there yet, closes (fails) exactly where a Java server
//! does, and hands the body out as a slice of the input.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Encoding, Frame, FrameError, MAX_FRAME, header_binary, header_json};

/// Length field, type byte and header length.
const PREFIX: usize = 8;

/// How many bytes are missing until [`decode`] can yield the next frame: for sizing reads. Zero when it can now, or when
/// it would fail.
pub fn missing(input: &[u8]) -> usize {
    let Some(length) = input.first_chunk::<4>() else { return 4 - input.len() };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_FRAME - 4 { 0 } else { (4 + length).saturating_sub(input.len()) }
}

/// Takes the next frame off the front of `input`; `None` until it is there as a whole. After an error the connection is to
/// be closed: the position of the next frame is unknown.
pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    // Java's decoder counts the length field itself against the limit.
    if length < 4 || length as usize > MAX_FRAME - 4 {
        return Err(FrameError::Length(length));
    }
    if input.len() < 4 + length as usize {
        return Ok(None);
    }
    let mut frame = input.split_to(4 + length as usize).freeze();
    frame.advance(4);
    let word = frame.get_u32();
    let header = word & 0xFF_FFFF;
    if header as usize > frame.len() {
        return Err(FrameError::HeaderLength { header, frame: length });
    }
    let header = frame.split_to(header as usize);
    let mut out = match (word >> 24) as u8 {
        0 => header_json::read(&header)?,
        1 => header_binary::read(&header)?,
        other => return Err(FrameError::Encoding(other)),
    };
    if !frame.is_empty() {
        out.body = frame;
    }
    Ok(Some(out))
}

/// Appends everything of a frame but its body: length field, type, header. `frame.body` and then `frame.rest` are to follow.
pub fn encode_head(frame: &Frame, out: &mut BytesMut) {
    let begin = out.len();
    out.put_u64(0);
    let kind = match frame.encoding {
        Encoding::Json => {
            header_json::write(frame, out);
            0
        }
        Encoding::RocketMq => {
            header_binary::write(frame, out);
            1_u32 << 24
        }
    };
    let header = out.len() - begin - PREFIX;
    assert!(header < 1 << 24, "a header of {header} bytes does not fit its length field");
    let length = 4 + header + frame.body.len() + frame.rest.iter().map(Bytes::len).sum::<usize>();
    let length = u32::try_from(length).expect("a frame fits its length field");
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    out[begin + 4..begin + PREFIX].copy_from_slice(&(kind | header as u32).to_be_bytes());
}

/// Appends a whole frame, body included.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    encode_head(frame, out);
    out.extend_from_slice(&frame.body);
    for slice in &frame.rest {
        out.extend_from_slice(slice);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Fields, Language};

    fn frame() -> impl Strategy<Value = Frame> {
        let fields = proptest::collection::vec(("\\PC{1,8}", "\\PC{1,20}|[\\x00-\\x1f\"\\\\]{1,9}"), 0..20);
        let numbers = (any::<i16>(), any::<i16>(), any::<i32>(), any::<i32>());
        let text = proptest::option::of("\\PC{1,30}");
        let body = proptest::collection::vec(any::<u8>(), 0..100);
        (numbers, text, fields, any::<bool>(), body, 0..14_u8).prop_map(
            |(n, remark, fields, binary, body, language)| {
                let mut frame = Frame::request(n.0.into()).with_body(body);
                (frame.version, frame.opaque, frame.flag, frame.remark) = (n.1.into(), n.2, n.3, remark);
                frame.language = Language::from_code(language);
                frame.encoding = if binary { Encoding::RocketMq } else { Encoding::Json };
                for (name, value) in &fields {
                    frame.fields.push_any(name, value);
                }
                frame
            },
        )
    }

    proptest! {
        #[test]
        fn a_frame_survives_the_wire_in_any_pieces(frame in frame(), cut in 0..200_usize) {
            let mut whole = BytesMut::new();
            encode(&frame, &mut whole);
            let mut input = BytesMut::from(&whole[..cut.min(whole.len())]);
            if input.len() < whole.len() {
                prop_assert_eq!(decode(&mut input), Ok(None));
                prop_assert!(missing(&input) > 0);
                input.extend_from_slice(&whole[input.len()..]);
            }
            prop_assert_eq!(decode(&mut input), Ok(Some(frame)));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_decode_or_fail(kind in 0..3_u8, header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut input = BytesMut::new();
            input.put_u32(4 + header.len() as u32);
            input.put_u32(u32::from(kind) << 24 | header.len() as u32);
            input.extend_from_slice(&header);
            let _ = decode(&mut input);
        }
    }

    #[test]
    fn a_claimed_length_costs_nothing_until_the_bytes_are_there() {
        let mut input = BytesMut::from(&b"\x00\xff\xff\xfc\x00\x00"[..]);
        let before = input.capacity();
        assert_eq!(decode(&mut input), Ok(None));
        assert_eq!((input.capacity(), missing(&input)), (before, MAX_FRAME - 6));
        for wrong in [0, 3, 0x00FF_FFFD, u32::MAX] {
            assert_eq!(decode(&mut BytesMut::from(&wrong.to_be_bytes()[..])), Err(FrameError::Length(wrong)));
        }
    }

    #[test]
    fn a_header_that_would_grow_in_memory_is_refused() {
        let decode_header = |header: String| {
            let mut input = BytesMut::new();
            input.put_u32(4 + header.len() as u32);
            input.put_u32(header.len() as u32);
            input.extend_from_slice(header.as_bytes());
            decode(&mut input)
        };
        let fields = |n: usize| format!("{{\"extFields\":{{{}\"z\":0}}}}", "\"\":1,".repeat(n));
        assert!(decode_header(fields(1000)).is_ok());
        assert!(matches!(decode_header(fields(1 << 20)), Err(FrameError::Header(_))));
        let nested = |n: usize| format!("{{\"extFields\":{{\"z\":[{}0]}}}}", "1,".repeat(n));
        assert!(decode_header(nested(1000)).is_ok());
        assert!(matches!(decode_header(nested(1 << 20)), Err(FrameError::Header(_))));
        let unknown = format!("{{\"x\":[{}0]}}", "1,".repeat(1 << 20));
        assert!(decode_header(unknown).is_ok(), "what is not kept may be long");
    }

    #[test]
    fn a_java_header_is_written_as_java_writes_it() {
        let mut frame = Frame::request(105);
        (frame.language, frame.opaque, frame.fields) = (Language::Java, 7, Fields::default());
        frame.fields.push_str("topic", "T\u{1}");
        let mut out = BytesMut::new();
        encode_head(&frame, &mut out);
        let expected = r#"{"code":105,"extFields":{"topic":"T\u0001"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":513}"#;
        assert_eq!(std::str::from_utf8(&out[8..]), Ok(expected));
    }
}

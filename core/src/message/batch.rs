//! The body of a batch: several messages of one topic in one request.
//!
//! ```text
//! | total 4 | magic 4 (0) | crc 4 (0) | flag 4 | n 4 | body n | n 2 | properties n |      repeated; total counts itself
//! ```
//!
//! Invariant: a decoded batch shares the bytes of the request, and no length in it is trusted beyond them.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const FIXED: usize = 22;

/// One message of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchMessage {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: Bytes,
    /// `name \x01 value \x02` pairs, UTF-8.
    pub properties: Bytes,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A message ends behind the batch.
    #[error("a message of the batch ends behind it")]
    Short,
    /// The lengths inside a message contradict its total.
    #[error("the lengths inside a message of the batch contradict each other")]
    Length,
    /// Properties that are not UTF-8.
    #[error("the properties of a message of the batch are not UTF-8")]
    Properties,
}

/// The body of a request with these messages. Properties must be at most 32,767 bytes each.
pub fn encode<'a>(messages: impl IntoIterator<Item = &'a BatchMessage>) -> Bytes {
    let mut out = BytesMut::new();
    for message in messages {
        let total = FIXED + message.body.len() + message.properties.len();
        out.reserve(total);
        out.put_u32(u32::try_from(total).expect("a message is far below 4 GiB"));
        out.put_u64(0);
        out.put_i32(message.flag);
        out.put_u32(u32::try_from(message.body.len()).expect("a body is far below 4 GiB"));
        out.put_slice(&message.body);
        out.put_i16(i16::try_from(message.properties.len()).expect("properties are checked before a batch is made"));
        out.put_slice(&message.properties);
    }
    out.freeze()
}

/// The messages of a batch.
pub fn decode(batch: &Bytes) -> Result<Vec<BatchMessage>, BatchError> {
    let mut rest = batch.clone();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let total = rest.try_get_u32().map_err(|_| BatchError::Short)? as usize;
        let len = total.checked_sub(4).ok_or(BatchError::Length)?;
        if len > rest.len() {
            return Err(BatchError::Short);
        }
        messages.push(message(rest.split_to(len))?);
    }
    Ok(messages)
}

fn message(mut bytes: Bytes) -> Result<BatchMessage, BatchError> {
    if bytes.len() < FIXED - 4 {
        return Err(BatchError::Length);
    }
    bytes.advance(8);
    let flag = bytes.get_i32();
    let len = bytes.get_u32() as usize;
    // Two bytes for the length of the properties must be left.
    if len > bytes.len() - 2 {
        return Err(BatchError::Length);
    }
    let body = bytes.split_to(len);
    let len = usize::from(bytes.get_u16());
    if len != bytes.len() {
        return Err(BatchError::Length);
    }
    std::str::from_utf8(&bytes).map_err(|_| BatchError::Properties)?;
    Ok(BatchMessage { flag, body, properties: bytes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = BatchMessage> {
        (any::<i32>(), any::<Vec<u8>>(), "[a-z\\x01\\x02]{0,40}").prop_map(|(flag, body, properties)| BatchMessage {
            flag,
            body: body.into(),
            properties: properties.into(),
        })
    }

    proptest! {
        #[test]
        fn a_batch_comes_back(messages in proptest::collection::vec(message(), 0..5), cut in 1..10_usize) {
            let batch = encode(&messages);
            prop_assert_eq!(decode(&batch), Ok(messages));
            if batch.len() >= cut {
                let cut = decode(&batch.slice(..batch.len() - cut));
                prop_assert!(cut.is_err() || cut.is_ok_and(|shorter| encode(&shorter).len() < batch.len()));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>, total in 0..60_u8) {
            let mut framed = vec![0, 0, 0, total];
            framed.extend_from_slice(&bytes);
            let _ = decode(&Bytes::from(framed));
        }
    }
}

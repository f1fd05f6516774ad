//! What a send's properties say to the broker, and what the broker adds to them.
//!
//! Invariant: what the client wrote is kept byte for byte, but for properties that only a broker may set; a property is
//! never in the text twice because of us.

use bytes::{BufMut, Bytes, BytesMut};

use super::dispatch::Fault;
use crate::message::properties;
use crate::wire::codes::response;

/// Longest text, additions included: its length is a signed short in the record.
pub const PROPERTIES_MAX: usize = 32_767;

const REGION: &str = "MSG_REGION";
const TRACE_ON: &str = "TRACE_ON";
const CLUSTER: &str = "CLUSTER";
const POP_CK: &str = "POP_CK";
const UNIQ_KEY: &str = "UNIQ_KEY";

/// What one pass over the text found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The id that the client gave the message.
    pub unique_key: Option<&'a str>,
    /// Whether the answer waits for the disk and the slaves (`WAIT`).
    pub wait: bool,
    /// Delay level; not positive is none.
    pub delay: i32,
    /// A delay by time is asked for.
    pub timer: bool,
    /// A prepared message of a transaction.
    pub prepared: bool,
    /// Something in it is the broker's to write.
    reserved: bool,
}

impl<'a> Facts<'a> {
    /// Reads the text.
    pub fn read(text: &'a str) -> Result<Facts<'a>, Fault> {
        let mut facts = Facts { wait: true, ..Facts::default() };
        for (name, value) in properties::iter(text) {
            match name {
                UNIQ_KEY => facts.unique_key = Some(value),
                "WAIT" => facts.wait = value.eq_ignore_ascii_case("true"),
                "DELAY" => facts.delay = parse_level(value)?,
                "TIMER_DELAY_SEC" | "TIMER_DELAY_MS" | "TIMER_DELIVER_MS" => facts.timer = true,
                "TRAN_MSG" => facts.prepared = value.eq_ignore_ascii_case("true"),
                REGION | TRACE_ON | CLUSTER | POP_CK => facts.reserved = true,
                _ => {}
            }
        }
        Ok(facts)
    }
}

/// Java answers a level that is no number with 1.
fn parse_level(value: &str) -> Result<i32, Fault> {
    let fault = |_| Fault::new(response::SYSTEM_ERROR, format!("the property DELAY is not a number: {value:?}"));
    value.parse().map_err(fault)
}

/// What the broker adds.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// `MSG_REGION`.
    pub region: &'a str,
    /// `TRACE_ON`.
    pub trace_on: bool,
    /// `CLUSTER`.
    pub cluster: &'a str,
    /// `UNIQ_KEY`, when the client gave none.
    pub unique_key: Option<&'a str>,
}

impl Outgoing<'_> {
    /// The text that is stored.
    pub fn write(&self, text: &str, facts: &Facts<'_>) -> Bytes {
        let unique = self.unique_key.map_or(0, str::len);
        let mut out = BytesMut::with_capacity(text.len() + self.region.len() + self.cluster.len() + unique + 56);
        if facts.reserved {
            for (name, value) in properties::iter(text) {
                if ![REGION, TRACE_ON, CLUSTER, POP_CK].contains(&name) {
                    put(&mut out, name, value);
                }
            }
        } else if !text.is_empty() {
            out.put_slice(text.as_bytes());
            if !text.ends_with('\x02') {
                out.put_u8(2);
            }
        }
        put(&mut out, REGION, self.region);
        put(&mut out, TRACE_ON, if self.trace_on { "true" } else { "false" });
        if let Some(unique) = self.unique_key {
            put(&mut out, UNIQ_KEY, unique);
        }
        put(&mut out, CLUSTER, self.cluster);
        out.freeze()
    }
}

fn put(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_u8(1);
    out.put_slice(value.as_bytes());
    out.put_u8(2);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Outgoing<'_> = Outgoing { region: "R", trace_on: true, cluster: "C", unique_key: None };

    #[test]
    fn one_pass_finds_what_matters() {
        let facts = Facts::read("UNIQ_KEY\x01k\x02WAIT\x01false\x02DELAY\x01-1\x02a\x01b").unwrap();
        assert_eq!(facts, Facts { unique_key: Some("k"), wait: false, delay: -1, ..Facts::default() });
        assert!(Facts::read("").unwrap().wait);
        assert!(Facts::read("TIMER_DELIVER_MS\x011\x02").unwrap().timer);
        assert!(Facts::read("TRAN_MSG\x01true\x02").unwrap().prepared);
        assert_eq!(Facts::read("DELAY\x01abc\x02").unwrap_err().code, 1);
    }

    #[test]
    fn additions_follow_what_the_client_wrote() {
        let write = |text: &str, out: Outgoing<'_>| {
            String::from_utf8(out.write(text, &Facts::read(text).unwrap()).to_vec()).unwrap()
        };
        let added = "MSG_REGION\x01R\x02TRACE_ON\x01true\x02";
        assert_eq!(write("", OUT), format!("{added}CLUSTER\x01C\x02"));
        assert_eq!(write("a\x01b\x02c\x01d", OUT), format!("a\x01b\x02c\x01d\x02{added}CLUSTER\x01C\x02"));
        let with_key = Outgoing { unique_key: Some("k"), ..OUT };
        assert_eq!(write("", with_key), format!("{added}UNIQ_KEY\x01k\x02CLUSTER\x01C\x02"));
        let again = write("POP_CK\x01x\x02CLUSTER\x01old\x02a\x01b\x02", OUT);
        assert_eq!(again, format!("a\x01b\x02{added}CLUSTER\x01C\x02"));
    }
}

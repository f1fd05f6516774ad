//! Message ids: the offset form that a broker gives, the unique form that a client gives.
//!
//! ```text
//! offset form:  | host 4 or 16 | port 4 | position in the log 8 |                          upper-case hex, 32 or 56 digits
//! unique form:  | host 4 or 16 | process 2 | origin 4 | ms since the month began 4 | counter 2 |            32 or 56 digits
//! ```
//!
//! Invariant: an offset id names one record for ever; unique ids of one process are never equal within a month (65,536 in
//! one millisecond excepted).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HEX: &[u8; 16] = b"0123456789ABCDEF";
const MS_A_DAY: u64 = 86_400_000;

fn push_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)] as char);
        out.push(HEX[usize::from(byte & 15)] as char);
    }
}

fn push_ip(ip: IpAddr, out: &mut String) {
    match ip {
        IpAddr::V4(ip) => push_hex(&ip.octets(), out),
        IpAddr::V6(ip) => push_hex(&ip.octets(), out),
    }
}

/// Upper-case hex (Java `UtilAll.bytes2string`).
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    push_hex(bytes, &mut out);
    out
}

/// The offset form.
pub fn offset_msg_id(store_host: SocketAddr, position: u64) -> String {
    let mut out = String::with_capacity(56);
    push_ip(store_host.ip(), &mut out);
    push_hex(&u32::from(store_host.port()).to_be_bytes(), &mut out);
    push_hex(&position.to_be_bytes(), &mut out);
    out
}

/// Where the broker of an offset id is reached, and the position there; `None` when it is not such an id.
pub fn parse_offset_msg_id(id: &str) -> Option<(SocketAddr, u64)> {
    let ip_digits = match id.len() {
        32 => 8,
        56 => 32,
        _ => return None,
    };
    if !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let ip: IpAddr = if ip_digits == 8 {
        Ipv4Addr::from(u32::from_str_radix(&id[..8], 16).ok()?).into()
    } else {
        Ipv6Addr::from(u128::from_str_radix(&id[..32], 16).ok()?).into()
    };
    let port = u32::from_str_radix(&id[ip_digits..ip_digits + 8], 16).ok()?;
    let position = u64::from_str_radix(&id[ip_digits + 8..], 16).ok()?;
    Some((SocketAddr::new(ip, u16::try_from(port).ok()?), position))
}

/// Makes unique ids (Java `MessageClientIDSetter`; the month begins in UTC).
#[derive(Clone, Debug)]
pub struct UniqueIds {
    /// Hex of what stays the same.
    fixed: String,
    counter: u16,
    /// Month that is being counted from, and the next, ms since 1970.
    month: (u64, u64),
}

impl UniqueIds {
    /// For a process of a host; `process` is anything that tells processes of that host apart.
    pub fn new(ip: IpAddr, process: u32) -> UniqueIds {
        let mut fixed = String::with_capacity(56);
        push_ip(ip, &mut fixed);
        let [_, _, high, low] = process.to_be_bytes();
        push_hex(&[high, low], &mut fixed);
        // Java puts the hash of a class loader here; what counts is that it tells processes apart.
        push_hex(&process.wrapping_mul(0x9E37_79B1).to_be_bytes(), &mut fixed);
        UniqueIds { fixed, counter: 0, month: (0, 0) }
    }

    /// The next id.
    pub fn next(&mut self, wall_ms: u64) -> String {
        if !(self.month.0..self.month.1).contains(&wall_ms) {
            self.month = month_of(wall_ms);
        }
        let since = (wall_ms - self.month.0) as u32;
        let mut out = String::with_capacity(self.fixed.len() + 12);
        out.push_str(&self.fixed);
        push_hex(&since.to_be_bytes(), &mut out);
        push_hex(&self.counter.to_be_bytes(), &mut out);
        self.counter = self.counter.wrapping_add(1);
        out
    }
}

/// When the month of `wall_ms` began and ends, ms since 1970. (Howard Hinnant's civil calendar, in days.)
fn month_of(wall_ms: u64) -> (u64, u64) {
    let days = wall_ms / MS_A_DAY;
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5;
    // Counted from March: 31 30 31 30 31 31 30 31 30 31 31, then February.
    let year = year_of_era + u64::from(month >= 10);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let len = if month == 11 { 28 + u64::from(leap) } else { (153 * (month + 1) + 2) / 5 - (153 * month + 2) / 5 };
    let begin = days - day;
    (begin * MS_A_DAY, (begin + len) * MS_A_DAY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_offset_id_comes_back(ip: IpAddr, port: u16, position: u64) {
            let host = SocketAddr::new(ip, port);
            let id = offset_msg_id(host, position);
            prop_assert_eq!(parse_offset_msg_id(&id), Some((host, position)));
            prop_assert_eq!(parse_offset_msg_id(&id.to_lowercase()), Some((host, position)));
        }

        #[test]
        fn any_text_parses_or_not(id in "\\PC{0,60}|[0-9a-fA-F]{32}|[+0-9é]{16,56}") {
            let _ = parse_offset_msg_id(&id);
        }

        #[test]
        fn every_moment_lies_in_its_month(ms in 0_u64..4_102_444_800_000) {
            let (begin, end) = month_of(ms);
            prop_assert!((begin..end).contains(&ms));
            let days = (end - begin) / MS_A_DAY;
            prop_assert!((28..=31).contains(&days));
            prop_assert_eq!(month_of(end).0, end);
            prop_assert_eq!(month_of(begin), (begin, end));
        }
    }

    #[test]
    fn months_of_known_dates() {
        // 2026-11-01, 2024-02-29, 2100-02-28 and 1970-01-01, all UTC.
        assert_eq!(month_of(1_795_391_548_472).0, 1_793_491_200_000);
        assert_eq!(month_of(1_709_164_800_000), (1_706_745_600_000, 1_709_251_200_000));
        assert_eq!(month_of(4_107_456_000_000).1, 4_107_542_400_000);
        assert_eq!(month_of(0), (0, 31 * MS_A_DAY));
    }

    #[test]
    fn unique_ids_of_a_process_differ() {
        let mut ids = UniqueIds::new("10.0.0.1".parse().expect("an address"), 0x1_2345);
        let first = ids.next(1_795_391_548_472);
        assert!(first.starts_with("0A0000012345") && first.ends_with("714504380000") && first.len() == 32, "{first}");
        assert!(ids.next(1_795_391_548_472).ends_with("714504380001"));
        assert_eq!(UniqueIds::new("::1".parse().expect("an address"), 1).next(5).len(), 56);
    }
}

//! Tables of few pages in memory against the same in memory alone.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Column, Map, Pages, Row, Texts};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Wide([u64; 9]);

impl Row for Wide {
    type Words = [u64; 9];
    fn to_words(self) -> [u64; 9] {
        self.0
    }
    fn from_words(words: [u64; 9]) -> Wide {
        Wide(words)
    }
}

fn wide(n: u64) -> Wide {
    Wide(std::array::from_fn(|i| n.wrapping_mul(0x9E37_79B9) ^ i as u64))
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Set(prop::sample::Index, u64),
    Insert(u64, u64),
    Remove(u64),
    Number(String),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u64>().prop_map(Step::Push),
        2 => any::<(prop::sample::Index, u64)>().prop_map(|(i, n)| Step::Set(i, n)),
        8 => (0..3_000_u64, any::<u64>()).prop_map(|(key, n)| Step::Insert(key, n)),
        2 => (0..3_000_u64).prop_map(Step::Remove),
        2 => "[a-zé-]{0,20}".prop_map(Step::Number),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn tables_hold_what_was_put_into_them(steps in proptest::collection::vec(step(), 1..3_000), most in 1..6_usize) {
        let pages = Pages::new(most);
        let (mut column, mut rows) = (Column::new(&pages), Vec::new());
        let (mut map, mut model) = (Map::new(&pages, 2), HashMap::new());
        let (mut texts, mut numbers) = (Texts::new(&pages), Vec::<String>::new());
        for step in steps {
            match step {
                Step::Push(n) => {
                    column.push(wide(n));
                    rows.push(wide(n));
                }
                Step::Set(i, n) if !rows.is_empty() => {
                    let i = i.index(rows.len());
                    column.set(i as u64, wide(n));
                    rows[i] = wide(n);
                }
                Step::Set(..) => {}
                Step::Insert(key, n) => prop_assert_eq!(map.insert((7, key), wide(n)), model.insert(key, wide(n))),
                Step::Remove(key) => prop_assert_eq!(map.remove((7, key)), model.remove(&key)),
                Step::Number(text) => {
                    let known = numbers.iter().position(|t| *t == text);
                    prop_assert_eq!(texts.find(&text), known.map(|n| n as u64));
                    prop_assert_eq!(texts.number(&text), (known.unwrap_or(numbers.len()) as u64, known.is_none()));
                    numbers.extend(Some(text).filter(|_| known.is_none()));
                }
                Step::Clear => {
                    column = Column::new(&pages);
                    rows.clear();
                }
            }
        }
        prop_assert_eq!(column.len(), rows.len() as u64);
        prop_assert!((0..).zip(&rows).all(|(i, row)| column.get(i) == *row));
        prop_assert!((0..3_000).all(|key| map.get((7, key)) == model.get(&key).copied()));
        prop_assert!((0..).zip(&numbers).all(|(n, text)| texts.text(n) == *text));
        prop_assert!(pages.sound().is_ok());
        prop_assert!(pages.count().0 <= most);
    }
}

#[test]
fn a_map_splits_and_forgets() {
    let pages = Pages::new(8);
    let mut map = Map::new(&pages, 2);
    for key in 0..20_000 {
        assert_eq!(map.insert((key % 3, key), key), None);
    }
    let full = pages.count().1;
    assert!((150..500).contains(&full), "20,000 entries of 24 bytes took {full} pages");
    assert!((0..20_000).all(|key| map.get((key % 3, key)) == Some(key)));
    assert!((0..20_000).all(|key| map.remove((key % 3, key)) == Some(key)));
    assert!((0..20_000).all(|key| map.get((key % 3, key)).is_none()));
    (0..20_000).for_each(|key| _ = map.insert((0, key), key));
    assert!(pages.count().1 < full + full / 2, "room that was left is used again");
}

#[test]
fn a_list_that_is_dropped_leaves_its_pages() {
    let pages = Pages::new(4);
    for _ in 0..50 {
        let mut column = Column::new(&pages);
        (0..10_000).for_each(|i| _ = column.push(wide(i)));
        assert_eq!(column.partition_point(|row| row.0[0] < wide(7_777).0[0]), 7_777);
    }
    assert_eq!(pages.count(), (4, 10_000_usize.div_ceil(512 / 9)));
}

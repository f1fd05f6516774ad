//! Randomness, one stream per object.
//!
//! Invariant: what an object draws depends on the seed, on its name and on how often it drew before, so that one more draw
//! elsewhere, or one action less on the tape, moves nothing here.

use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of draws that belongs to one object.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

/// The 64-bit name of an object: what breaks ties and keys its draws.
pub fn entity(kind: &str, parts: &[u64]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    kind.bytes().for_each(&mut eat);
    parts.iter().flat_map(|part| part.to_le_bytes()).for_each(&mut eat);
    hash
}

impl Dice {
    /// The stream of the object `entity` under `seed`.
    pub fn new(seed: u64, entity: u64) -> Dice {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&entity.to_le_bytes());
        Dice(ChaCha8Rng::from_seed(key))
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let bits = self.bits();
        if bound == 0 { 0 } else { bits % bound }
    }
    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }
    /// True `ppm` times in a million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }
    /// An exponentially distributed number with this mean, at most 16 times the mean.
    pub fn tail(&mut self, mean: u64) -> u64 {
        // Halvings counted in random bits: an exponential by integers alone, the same on every machine.
        let bits = self.bits();
        let halvings = u64::from((bits | 1 << 22).trailing_zeros());
        let part = (bits >> 32) % 1024;
        (mean * (halvings * 1024 + part) / 1478).min(mean * 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_their_own() {
        let draws = |seed, name| {
            let mut dice = Dice::new(seed, name);
            [dice.bits(), dice.bits()]
        };
        assert_eq!(draws(1, 2), draws(1, 2));
        assert_ne!(draws(1, 2), draws(1, 3));
        assert_ne!(draws(1, 2), draws(2, 2));
        assert_ne!(entity("a", &[1, 2]), entity("a", &[2, 1]));
    }

    #[test]
    fn tail_has_its_mean() {
        let mut dice = Dice::new(7, 7);
        let sum: u64 = (0..20_000).map(|_| dice.tail(1000)).sum();
        let mean = sum / 20_000;
        assert!((900..1150).contains(&mean), "mean {mean}");
    }
}

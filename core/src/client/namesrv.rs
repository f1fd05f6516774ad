//! Which name server a client asks: a random one, kept until it fails.
//!
//! Invariant: the chosen server is in the list; clients that start together spread over the servers.

use crate::node::{Addr, Rng};
use crate::sometimes;

/// The configured name servers and the one in use.
#[derive(Clone, Debug, Default)]
pub struct NameServers {
    addrs: Vec<Addr>,
    chosen: Option<usize>,
}

impl NameServers {
    /// Nothing is chosen yet.
    pub fn new(addrs: Vec<Addr>) -> NameServers {
        NameServers { addrs, chosen: None }
    }
    /// Those that are configured.
    pub fn addrs(&self) -> &[Addr] {
        &self.addrs
    }
    /// How many are configured.
    pub fn len(&self) -> usize {
        self.addrs.len()
    }
    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.addrs.is_empty()
    }
    /// The server in use; the first question chooses it.
    pub fn current(&mut self, rng: &mut Rng) -> Option<Addr> {
        if self.addrs.is_empty() {
            return None;
        }
        let count = self.addrs.len() as u64;
        let at = *self.chosen.get_or_insert_with(|| usize::try_from(rng.below(count)).expect("below a length"));
        Some(self.addrs[at].clone())
    }
    /// A server did not answer: the next in the list is used, unless another was chosen meanwhile.
    pub fn failed(&mut self, addr: &Addr) {
        let Some(at) = self.chosen else { return };
        if self.addrs[at] == *addr && self.addrs.len() > 1 && !crate::planted!("name-server-kept") {
            sometimes!("client switched to another name server");
            self.chosen = Some((at + 1) % self.addrs.len());
        }
    }
    /// Another list; the server in use is kept when it is still in it. Returns those that are not any more.
    pub fn replace(&mut self, addrs: Vec<Addr>) -> Vec<Addr> {
        let kept = self.chosen.map(|at| self.addrs[at].clone());
        self.chosen = kept.and_then(|addr| addrs.iter().position(|a| *a == addr));
        let gone = self.addrs.iter().filter(|addr| !addrs.contains(addr)).cloned().collect();
        self.addrs = addrs;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> NameServers {
        NameServers::new(names.iter().map(|name| Addr::from(*name)).collect())
    }

    #[test]
    fn the_choice_is_random_then_sticky_and_moves_on_failure() {
        let mut rng = Rng::from_seed(1);
        let mut chosen = std::collections::BTreeSet::new();
        for _ in 0..32 {
            let mut names = servers(&["a", "b", "c"]);
            let first = names.current(&mut rng).unwrap();
            assert_eq!(names.current(&mut rng), Some(first.clone()));
            names.failed(&Addr::from("stranger"));
            assert_eq!(names.current(&mut rng), Some(first.clone()));
            names.failed(&first);
            assert_ne!(names.current(&mut rng), Some(first.clone()));
            names.failed(&first);
            assert_ne!(names.current(&mut rng), Some(first.clone()), "an old failure moves nothing");
            chosen.insert(first);
        }
        assert_eq!(chosen.len(), 3);
        assert_eq!(servers(&[]).current(&mut rng), None);
    }

    #[test]
    fn a_new_list_keeps_the_server_in_use() {
        let mut rng = Rng::from_seed(1);
        let mut names = servers(&["a"]);
        names.current(&mut rng);
        assert!(names.replace(vec![Addr::from("b"), Addr::from("a")]).is_empty());
        assert_eq!(names.current(&mut rng).as_deref(), Some("a"));
        assert_eq!(names.replace(vec![Addr::from("c")]), [Addr::from("b"), Addr::from("a")]);
        assert_eq!(names.current(&mut rng).as_deref(), Some("c"));
    }
}

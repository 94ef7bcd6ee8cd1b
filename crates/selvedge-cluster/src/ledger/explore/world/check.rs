//! What must hold in every state, and at the end.

use super::*;

impl World {
    pub(in super::super) fn check(&self) {
        let ledger = &self.ledger;
        let owed: Vec<Index> = (0..ledger.slots.len())
            .filter(|at| matches!(ledger.slots[*at], Slot::Owed(..)))
            .map(|at| ledger.given + at as Index)
            .collect();
        assert_eq!(owed.len(), ledger.owed, "the count of what is owed");
        assert!(ledger.owed <= self.bounds.under_way, "too much under way");
        assert!(self.pushed - self.given <= self.bounds.window as u64, "beyond the window");
        let mut placed: Vec<Index> = ledger.waiting.iter().chain(&ledger.alone).copied().collect();
        for batch in ledger.batches.values() {
            let here = batch.items.iter().filter(|index| owed.contains(index));
            let before = placed.len();
            placed.extend(here);
            assert_eq!(batch.owed, placed.len() - before, "the count of a batch");
            assert!(batch.owed > 0, "an empty batch is kept");
            assert!(batch.due > self.now || batch.due == Nanos::MAX, "nobody asked");
        }
        placed.sort_unstable();
        assert_eq!(placed, owed, "each owed item waits, or is in exactly one batch");
        let ready = matches!(ledger.slots.front(), Some(Slot::Done(_)));
        let next = ledger.clone().next().map(|(index, _)| index);
        assert_eq!(next, ready.then_some(self.given), "something else would be given out");
        let due = ledger.next_due();
        assert_eq!(due.is_none(), ledger.batches.is_empty());
    }

    /// A world without faults from here on gives out everything.
    pub(in super::super) fn ends_well(&self, kind: &mut HashSet<u128>) {
        let mut world = self.clone();
        let mut walked = Vec::new();
        for _ in 0..400 {
            if world.given == world.items {
                kind.extend(walked);
                return;
            }
            let print = fingerprint(&world);
            if kind.contains(&print) {
                kind.extend(walked);
                return;
            }
            walked.push(print);
            match world.kind_moves().iter().find(|step| !matches!(step, Move::Renew(_))) {
                Some(step) => world.make(*step),
                None => world.tick(),
            }
            world.check();
        }
        panic!("not everything is given out, from {self:?}");
    }
}

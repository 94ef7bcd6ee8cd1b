//! Which result is whose: the records that a worker left of one batch, sorted
//! by the tasks that they name.
//!
//! # The rule
//!
//! One record a task, matched to its task by its own number and not by its
//! place. A task whose record is missing, doubled or spoilt loses its result
//! and says so; no other task does.
//!
//! # Algorithm
//!
//! Records are expected in the order of their numbers, and walked once, as far
//! as results are asked for. At the first one that is out of order the rest is
//! indexed by number, and each task looked up there. Results that came by
//! themselves are kept by number from the start; their record is a
//! placeholder.
//!
//! Pure: it is given bytes, and knows no worker.

use super::error::Fault;
use super::group::Ended;
use super::wire::{self, Garbled, Kind};
use crate::outcome::Outcome;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// A result that came by itself, or why it could not be had.
type Apart = Result<(Kind, Vec<u8>), Arc<str>>;

/// The results of one batch.
#[derive(Debug, Default)]
pub(super) struct Results {
    apart: HashMap<u32, Apart>,
    /// Copied once the first are asked for.
    bytes: Option<Arc<Vec<u8>>>,
    /// Where the record of the next task should begin.
    at: usize,
    /// The number of the next task.
    next: u32,
    /// Where each record begins, if they are out of order; `None`: twice.
    index: Option<HashMap<u32, Option<usize>>>,
    /// What is wrong with the bytes themselves.
    spoilt: Option<Garbled>,
}

impl Results {
    /// A result came by itself, or could not be had.
    pub(super) fn came_apart(&mut self, number: u32, result: Apart) {
        match self.apart.entry(number) {
            Entry::Vacant(free) => drop(free.insert(result)),
            Entry::Occupied(mut other) => drop(other.insert(Err("it came twice".into()))),
        }
    }

    /// What ends the next tasks, at most `most` of them, at least one.
    /// `bytes`: the records of all tasks that are finished by now.
    pub(super) fn take(&mut self, most: u32, bytes: impl FnOnce() -> Vec<u8>) -> (u32, Ended) {
        let bytes = Arc::clone(self.bytes.get_or_insert_with(|| Arc::new(bytes())));
        if self.index.is_none() {
            let (start, mut count) = (self.at, 0);
            while count < most {
                match wire::result(&bytes, self.at) {
                    Ok((Kind::Elsewhere, number, _, after)) if number == self.next => {
                        if count == 0 {
                            (self.at, self.next) = (after, number + 1);
                            return (1, self.apart(number));
                        }
                        break;
                    }
                    Ok((_, number, _, after)) if number == self.next => {
                        (self.at, self.next, count) = (after, number + 1, count + 1);
                    }
                    _ => {
                        self.index_rest(&bytes);
                        break;
                    }
                }
            }
            if count > 0 {
                return (count, Ended::Records(bytes, start));
            }
        }
        let number = self.next;
        self.next += 1;
        (1, self.look_up(number, bytes))
    }

    /// What is wrong with the bytes, if that was seen: told once.
    pub(super) fn spoilt(&mut self) -> Option<Garbled> {
        self.spoilt.take()
    }

    fn index_rest(&mut self, bytes: &[u8]) {
        let mut index = HashMap::new();
        let mut at = self.at;
        while at < bytes.len() {
            match wire::result(bytes, at) {
                Ok((_, number, _, after)) => {
                    index.entry(number).and_modify(|twice| *twice = None).or_insert(Some(at));
                    at = after;
                }
                Err(garbled) => {
                    self.spoilt = Some(garbled);
                    break;
                }
            }
        }
        self.index = Some(index);
    }

    fn look_up(&mut self, number: u32, bytes: Arc<Vec<u8>>) -> Ended {
        let place = self.index.as_mut().and_then(|index| index.remove(&number));
        match place {
            Some(Some(at)) => match wire::result(&bytes, at) {
                Ok((Kind::Elsewhere, ..)) => self.apart(number),
                Ok(_) => Ended::Records(bytes, at),
                Err(garbled) => lost(garbled.0),
            },
            Some(None) => lost("it came twice"),
            None => lost("it did not come"),
        }
    }

    fn apart(&mut self, number: u32) -> Ended {
        match self.apart.remove(&number) {
            Some(Ok((kind, bytes))) => Ended::Whole(kind, bytes),
            Some(Err(why)) => lost(&why),
            None => lost("it did not come"),
        }
    }
}

fn lost(why: &str) -> Ended {
    Ended::Lost(Outcome::Err(Fault::Undelivered(why.into())))
}

#[cfg(test)]
mod tests {
    use super::super::group::{Delivery, Unpacked};
    use super::*;
    use proptest::prelude::*;

    /// The value that the task of this number returned: nobody else's.
    fn value(number: u32) -> u64 {
        u64::from(number) * 1_000_003 + 7
    }

    /// What is done to a batch on its way.
    #[derive(Debug, Clone)]
    enum Harm {
        Lose(usize),
        Double(usize),
        Swap(usize, usize),
        Cut(usize),
    }

    fn harm() -> impl Strategy<Value = Harm> {
        prop_oneof![
            any::<usize>().prop_map(Harm::Lose),
            any::<usize>().prop_map(Harm::Double),
            (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Harm::Swap(a, b)),
            (1..9_usize).prop_map(Harm::Cut),
        ]
    }

    /// A record of a task: here, or a placeholder and a packet.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Sent {
        number: u32,
        apart: bool,
    }

    /// Does all harm to `sent`.
    fn harmed<T: Clone>(mut sent: Vec<T>, harms: &[Harm]) -> Vec<T> {
        for harm in harms {
            if sent.is_empty() {
                break;
            }
            let len = sent.len();
            match harm {
                Harm::Lose(at) => drop(sent.remove(at % len)),
                Harm::Double(at) => sent.push(sent[at % len].clone()),
                Harm::Swap(a, b) => sent.swap(a % len, b % len),
                Harm::Cut(_) => {}
            }
        }
        sent
    }

    fn encode(records: &[Sent]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            let body = if record.apart {
                Vec::new()
            } else {
                postcard::to_allocvec(&value(record.number)).expect("a number")
            };
            let kind = if record.apart { Kind::Elsewhere } else { Kind::Value };
            bytes.extend(wire::result_head(kind, body.len(), record.number));
            bytes.extend(body);
        }
        bytes
    }

    /// Takes all in steps, and returns what each task got.
    fn taken(results: &mut Results, tasks: u32, steps: &[u32], bytes: &[u8]) -> Vec<Option<u64>> {
        let mut got = Vec::new();
        let mut steps = steps.iter().copied().cycle();
        while (got.len() as u32) < tasks {
            let mut most = steps.next().unwrap_or(1).min(tasks - got.len() as u32);
            while most > 0 {
                let (count, ended) = results.take(most, || bytes.to_vec());
                assert!((1..=most).contains(&count), "{count} of {most}");
                most -= count;
                let delivery = Delivery { index: got.len() as u64, count, attempt: 1, ended };
                let mut unpacked = Unpacked::new(delivery);
                while let Some(report) = unpacked.next::<u64>() {
                    assert_eq!(report.index, got.len());
                    got.push(match report.outcome {
                        Outcome::Ok(value) => Some(value),
                        Outcome::Err(Fault::Undelivered(_)) => None,
                        other => panic!("{other:?}"),
                    });
                }
            }
        }
        got
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 3_000,
            failure_persistence: crate::test_seeds("process-results"),
            ..ProptestConfig::default()
        })]

        /// Whatever is lost, doubled, reordered or cut off, of records and of
        /// packets: a task gets its own value or none; one whose record and
        /// packet came once gets it.
        #[test]
        fn a_task_gets_its_own_result_or_none(
            apart in prop::collection::vec(any::<bool>(), 1..20),
            to_records in prop::collection::vec(harm(), 0..4),
            to_packets in prop::collection::vec(harm(), 0..4),
            steps in prop::collection::vec(1..7_u32, 1..5),
        ) {
            let tasks = apart.len() as u32;
            let whole: Vec<Sent> =
                (0..tasks).map(|number| Sent { number, apart: apart[number as usize] }).collect();
            let packets: Vec<u32> =
                whole.iter().filter(|sent| sent.apart).map(|sent| sent.number).collect();
            let records = harmed(whole, &to_records);
            let packets = harmed(packets, &to_packets);

            let mut results = Results::default();
            for number in &packets {
                let bytes = postcard::to_allocvec(&value(*number)).expect("a number");
                results.came_apart(*number, Ok((Kind::Value, bytes)));
            }
            let mut bytes = encode(&records);
            let cut = to_records.iter().any(|harm| matches!(harm, Harm::Cut(_)));
            for harm in &to_records {
                if let Harm::Cut(few) = harm {
                    bytes.truncate(bytes.len().saturating_sub(*few));
                }
            }
            let got = taken(&mut results, tasks, &steps, &bytes);

            let times = |number: u32| records.iter().filter(|sent| sent.number == number).count();
            let untouched = to_records.is_empty() && to_packets.is_empty();
            for (number, got) in (0..tasks).zip(got) {
                if let Some(got) = got {
                    prop_assert_eq!(got, value(number), "the value of another task");
                }
                let arrived = !apart[number as usize]
                    || packets.iter().filter(|packet| **packet == number).count() == 1;
                if untouched || (!cut && times(number) == 1 && arrived) {
                    prop_assert_eq!(got, Some(value(number)), "task {} is an innocent", number);
                }
                if times(number) == 0 {
                    prop_assert_eq!(got, None);
                }
            }
        }

        /// Random bytes end every task, with no panic.
        #[test]
        fn random_bytes_end_every_task(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            tasks in 1..20_u32,
        ) {
            let mut results = Results::default();
            let mut done = 0;
            while done < tasks {
                let (count, _) = results.take(tasks - done, || bytes.clone());
                prop_assert!((1..=tasks - done).contains(&count));
                done += count;
            }
        }
    }

    /// Bytes that are no records are told to the shell, once.
    #[test]
    fn what_is_no_record_is_told_once() {
        let mut results = Results::default();
        let mut bytes = encode(&[Sent { number: 0, apart: false }]);
        bytes.extend([0xff; 9]);
        assert!(matches!(results.take(2, || bytes.clone()), (1, Ended::Records(..))));
        assert!(results.spoilt().is_some());
        assert!(results.spoilt().is_none());
        assert!(matches!(results.take(1, Vec::new), (1, Ended::Lost(_))));
    }
}

//! Everything that happened to the disk, in order.

use crate::Content;
use crate::op::{Change, Op, Part};

/// One moment of the journal.
#[derive(Clone, Copy, Debug)]
enum Event {
    Began(usize),
    Ended(usize),
    FlushBegan(usize),
    FlushEnded(usize),
}

/// The journal, what the disk gives to reads now, and what is durable.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) ops: Vec<Op>,
    events: Vec<Event>,
    /// When each flush began.
    flushes: Vec<usize>,
    pub(crate) live: Content,
    /// What was durable from a moment on, in ascending order of moments.
    durable: Vec<(usize, Content)>,
}

impl Journal {
    pub(crate) fn new(content: Content) -> Self {
        Self {
            ops: Vec::new(),
            events: Vec::new(),
            flushes: Vec::new(),
            live: content.clone(),
            durable: vec![(0, content)],
        }
    }

    /// How many events there are: the moment of now.
    pub(crate) fn now(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn begin(&mut self, change: Change, offset: u64, len: u64, fua: bool) -> usize {
        let number = self.ops.len();
        self.events.push(Event::Began(number));
        self.ops.push(Op {
            change,
            offset,
            len,
            fua,
            began: self.now(),
            ended: None,
            durable: None,
            part: Part::Nothing,
        });
        number
    }

    /// The request has ended, and this part of it has landed.
    pub(crate) fn end(&mut self, number: usize, part: Part) {
        self.events.push(Event::Ended(number));
        let now = self.now();
        let Some(op) = self.ops.get_mut(number) else {
            return;
        };
        op.ended = Some(now);
        op.apply(&mut self.live, &part, &[]);
        // Of a request that was cut off, nothing is promised.
        let durable = op.fua && part == Part::Whole;
        op.part = part;
        if durable {
            self.make_durable(&[number]);
        }
    }

    pub(crate) fn begin_flush(&mut self) -> usize {
        let number = self.flushes.len();
        self.events.push(Event::FlushBegan(number));
        self.flushes.push(self.now());
        number
    }

    pub(crate) fn end_flush(&mut self, number: usize) {
        let began = self.flushes.get(number).copied().unwrap_or(0);
        self.events.push(Event::FlushEnded(number));
        let numbered = self.ops.iter().enumerate();
        let mut covered: Vec<(Option<usize>, usize)> = numbered
            .filter(|(_, op)| op.durable.is_none() && op.ended_by(began))
            .map(|(number, op)| (op.ended, number))
            .collect();
        covered.sort_unstable();
        let covered: Vec<usize> = covered.into_iter().map(|(_, number)| number).collect();
        self.make_durable(&covered);
    }

    /// These requests, in the order in which they ended, are durable from now on.
    fn make_durable(&mut self, numbers: &[usize]) {
        let now = self.now();
        let mut content = self.durable_at(now).clone();
        for number in numbers {
            if let Some(op) = self.ops.get(*number) {
                let later = |d: &&Op| d.durable.is_some() && d.ended > op.ended && d.meets(op);
                let later: Vec<&Op> = self.ops.iter().filter(later).collect();
                op.apply(&mut content, &op.part, &later);
            }
        }
        for number in numbers {
            if let Some(op) = self.ops.get_mut(*number) {
                op.durable = Some(now);
            }
        }
        self.durable.push((now, content));
    }

    /// What was durable at a moment.
    pub(crate) fn durable_at(&self, moment: usize) -> &Content {
        let later = self.durable.partition_point(|(from, _)| *from <= moment);
        // There is always one from moment 0 on.
        let last = later.checked_sub(1).and_then(|n| self.durable.get(n));
        last.map_or(&self.live, |(_, content)| content)
    }

    /// Requests that had begun and were not durable at a moment.
    pub(crate) fn pending_at(&self, moment: usize) -> Vec<&Op> {
        let pending = |op: &&Op| {
            let durable = op.durable.is_some_and(|since| since <= moment);
            op.began <= moment && !durable
        };
        self.ops.iter().filter(pending).collect()
    }

    /// The events in words.
    pub(crate) fn trace(&self) -> Vec<String> {
        let op = |number: &usize| self.ops.get(*number).map(ToString::to_string);
        let line = |event: &Event| match event {
            Event::Began(n) => format!("{} began (#{n})", op(n).unwrap_or_default()),
            Event::Ended(n) => format!("{} ended (#{n})", op(n).unwrap_or_default()),
            Event::FlushBegan(n) => format!("flush began (flush #{n})"),
            Event::FlushEnded(n) => format!("flush ended (flush #{n})"),
        };
        self.events.iter().map(line).collect()
    }
}

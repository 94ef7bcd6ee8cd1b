//! What a step touched: two steps that touch nothing in common can be done in
//! either order, with the same end.

/// Something that steps have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// An object, by its place in the execution.
    Object(usize),
    /// What `unpark` leaves for a task.
    Token(usize),
    /// The end of a task.
    End(usize),
    /// The numbers of tasks.
    Tasks,
    /// Whether the body has returned: async tasks end with it.
    Body,
    /// What wakes an async task, and whether it was told to end.
    Wake(usize),
    /// A timer, by its number.
    Timer(usize),
    /// How far the modelled time has come.
    Clock,
    /// The order of calls and returns that a history records.
    History,
}

/// What was done to a key. Two that do the same cannot be told in which order
/// they came, unless both write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is as it was.
    Read,
    /// It is woken, or later than it was: once is as good as twice, and who
    /// calls does not look.
    Call,
    Write,
}

/// How a step touched a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Touch {
    key: Key,
    access: Access,
}

/// Who does steps, one after the other: a task, or a timer, of which each is
/// the only step.
pub(crate) fn actor(task: usize, alternative: usize) -> usize {
    if task == 0 { 2 * alternative + 1 } else { 2 * task }
}

/// A step that was done: the operation that was chosen, and all up to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    /// Its [`actor`].
    pub(crate) task: usize,
    /// How many objects, and how many timers, there were before.
    pub(crate) known: (usize, usize),
    /// What was touched, each key once.
    pub(super) touches: Vec<Touch>,
    /// The keys that the step would have waited for.
    pub(crate) waits: Vec<Key>,
    /// The locks that it took.
    pub(super) takes: Vec<Key>,
    /// The locks among them that it has not given up.
    pub(super) holds: Vec<Key>,
    /// The keys that nobody who waits for them can have before this step:
    /// locks that an earlier one took and this one gave up, and the task's end.
    pub(super) releases: Vec<Key>,
    /// It can be told from everything: a deadline passed, or others went first.
    pub(crate) world: bool,
    /// A deadline passed.
    pub(crate) late: bool,
    /// The tasks that it started.
    pub(crate) started: Vec<usize>,
    /// What it touched is not all known.
    pub(crate) unknown: bool,
}

impl Step {
    /// Whether the other does the same, as far as can be seen.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        (self.task, &self.touches, &self.waits) == (other.task, &other.touches, &other.waits)
    }

    pub(crate) fn touch(&mut self, key: Key, access: Access) {
        match self.touches.iter_mut().find(|touch| touch.key == key) {
            Some(touch) if touch.access == access => {}
            Some(touch) => touch.access = Access::Write,
            None => self.touches.push(Touch { key, access }),
        }
    }

    pub(crate) fn release(&mut self, key: Key) {
        self.holds.retain(|held| *held != key);
        if !self.takes.contains(&key) && !self.releases.contains(&key) {
            self.releases.push(key);
        }
    }

    /// It is over. A lock that is still held keeps others out.
    pub(crate) fn over(&mut self) {
        for key in std::mem::take(&mut self.holds) {
            self.touch(key, Access::Write);
        }
    }

    /// Whether the order of the two can be told.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        self.meets(other, |mine, theirs| mine == theirs)
    }

    /// The same for a step of another execution, which branched off before
    /// this one: an object that is new since may have another place there.
    pub(crate) fn conflicts_elsewhere(&self, other: &Self) -> bool {
        let new = |key| match key {
            Key::Object(place) => place >= self.known.0,
            Key::Timer(number) => number > self.known.1,
            _ => false,
        };
        self.meets(other, |mine, theirs| mine == theirs || (new(mine) && new(theirs)))
    }

    fn meets(&self, other: &Self, same: impl Fn(Key, Key) -> bool) -> bool {
        let told = |mine: &Touch, theirs: &Touch| {
            let alike = mine.access == theirs.access && mine.access != Access::Write;
            !alike && same(mine.key, theirs.key)
        };
        self.world
            || other.world
            || self.touches.iter().any(|mine| other.touches.iter().any(|one| told(mine, one)))
    }

    /// Whether `later` can only have been done since this was.
    pub(crate) fn lets(&self, later: &Self) -> bool {
        self.releases.iter().any(|key| later.waits.contains(key))
    }

    /// Adds what another way to do the step touched.
    pub(crate) fn join(&mut self, other: &Self) {
        for touch in &other.touches {
            self.touch(touch.key, touch.access);
        }
        self.world |= other.world;
        self.unknown |= other.unknown;
    }
}

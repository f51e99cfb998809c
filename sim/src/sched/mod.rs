//! Fibers on one OS thread, virtual time, and one seed that decides who runs when: an *episode*.
//!
//! Promise: the same seed and the same code give the same episode, told by [`Report::trace_hash`]. Only one fiber runs at
//! a time, and another one may run only inside [`yield_point`], [`park`], [`sleep`], [`join`], [`block_on`], [`kill`].
//!
//! How the dead die: a stack may hold frames of C code, which must not be unwound. So [`kill`] resumes each fiber of the
//! process once, and nobody else before they have ended. Functions that C code may call ([`yield_point`], [`park`],
//! [`sleep`], [`join`]) return at once; callbacks then ask [`is_dead`] and fail without effect. Seams between Rust and
//! Rust call [`die_if_dead`], which unwinds. Drop code of the dead runs with all seams failing.

mod random;
mod switch;
mod timer;
mod wait;
mod world;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use switch::Stack;
pub use timer::{Timer, timer};
pub use wait::{block_on, cut_in, join, park, sleep, unpark};
use world::{Next, State, World};

/// Virtual monotonic time since the start of the episode.
pub type Nanos = u64;

/// A simulated OS process. Number 0 is the stage manager, which nobody kills.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Process(pub u32);

/// Names a fiber of the running episode.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct FiberId(u32);

/// What decides an episode.
#[derive(Clone, Debug)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// Chance that another fiber runs at a yield point.
    pub switch_per_mille: u32,
    /// The episode is ended after so many steps.
    pub steps_max: u64,
    /// Size of each stack; stacks are used again, also by later episodes of the thread.
    pub stack_bytes: usize,
}

impl Config {
    /// Usual values for a seed.
    pub fn new(seed: u64) -> Config {
        Config {
            seed,
            switch_per_mille: 100,
            steps_max: 10_000_000,
            stack_bytes: 256 << 10,
        }
    }
}

/// What happened in an episode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Yield points and waits.
    pub steps: u64,
    /// How often a fiber was resumed.
    pub switches: u64,
    /// Over all steps, switches and what was given to [`trace`].
    pub trace_hash: u64,
    /// How long it took, in virtual time.
    pub virtual_time: Nanos,
    /// The first panic of a fiber, with its name.
    pub panic: Option<String>,
    /// All fibers waited for each other: who waited where.
    pub deadlock: Option<String>,
    /// It took more than `steps_max` steps.
    pub steps_exceeded: bool,
    /// Fibers that did not end although they were dead. Their memory is lost.
    pub leaked: u32,
}

/// The answer of a seam to a fiber that is dead and unwinding already: an error without effect.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Dead;

impl std::fmt::Display for Dead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated process was killed")
    }
}

impl std::error::Error for Dead {}

impl From<Dead> for std::io::Error {
    fn from(dead: Dead) -> std::io::Error {
        std::io::Error::other(dead)
    }
}

/// What unwinds a dead fiber.
struct Killed;

/// Calls of a dead or panicking fiber, after which it is taken for one that loops for ever.
const FUTILE_MAX: u32 = 200_000;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static EPISODES: Cell<u64> = const { Cell::new(0) };
    /// Text of the last panic in a fiber.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn with<R>(work: impl FnOnce(&mut World) -> R) -> Option<R> {
    WORLD.with(|world| world.borrow_mut().as_mut().map(work))
}

/// Runs `main` as the first fiber (process 0) until it returns; other fibers that have not ended by then are killed.
pub fn run(config: Config, main: impl FnOnce() + 'static) -> Report {
    catch_messages();
    let episode = EPISODES.get() + 1;
    EPISODES.set(episode);
    WORLD.with(|world| {
        let mut world = world.borrow_mut();
        assert!(world.is_none(), "episodes can't be nested");
        *world = Some(World::new(episode, config));
    });
    spawn(Process(0), "main", main);
    while let Some(next) = with(World::decide) {
        let id = match next {
            Next::Run(id) => id,
            Next::Ring => {
                timer::ring_due();
                continue;
            }
            Next::End => break,
        };
        let stack = with(|world| world.fiber(id).stack.take()).flatten();
        let mut stack = stack.expect("a fiber that waits has a stack");
        let ended = stack.resume();
        let leaked = with(|world| {
            world.current = None;
            world.fiber(id).state == State::Leaked
        });
        if ended {
            stack.recycle();
        } else if leaked == Some(true) {
            // It can't be unwound, so it is never freed.
            std::mem::forget(stack);
        } else {
            with(|world| world.fiber(id).stack = Some(stack));
        }
    }
    let world = WORLD.with(|world| world.borrow_mut().take());
    let mut world = world.expect("the world lasts until the end of run");
    world.report.virtual_time = world.now;
    std::mem::take(&mut world.report)
}

/// Panics in fibers are kept for the report instead of being printed.
fn catch_messages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !in_world() {
                return before(info);
            }
            let trace = std::backtrace::Backtrace::capture();
            let trace = match trace.status() {
                std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
                _ => String::new(),
            };
            PANIC.with(|text| *text.borrow_mut() = Some(format!("{info}{trace}")));
        }));
    });
}

/// Starts a fiber. In a dead process `work` is dropped instead.
pub fn spawn(process: Process, name: &str, work: impl FnOnce() + 'static) -> FiberId {
    let (id, bytes, ended) = with(|world| {
        let id = world.add(process, name);
        let ended = world.fiber(id).state == State::Ended;
        (id, world.config.stack_bytes, ended)
    })
    .expect("fibers exist only in an episode");
    if ended {
        return id;
    }
    let stack = Stack::new(bytes, move || {
        let result = catch_unwind(AssertUnwindSafe(|| {
            if with(|world| world.fiber(id).dead) == Some(true) {
                drop(work);
            } else {
                work();
            }
        }));
        if let Err(payload) = result {
            note_panic(id, payload.is::<Killed>());
        }
        with(|world| world.set_state(id, State::Ended));
    });
    with(|world| world.fiber(id).stack = Some(stack));
    id
}

fn note_panic(id: FiberId, killed: bool) {
    if killed {
        return;
    }
    let text = PANIC.with(|text| text.borrow_mut().take());
    with(|world| {
        let fiber = world.fiber(id);
        fiber.panicked = true;
        let text = format!("fiber {}: {}", fiber.name, text.unwrap_or_default());
        world.report.panic.get_or_insert(text);
    });
}

/// The running fiber.
pub fn current() -> FiberId {
    with(|world| world.current)
        .flatten()
        .expect("only fibers have a name")
}

/// The process of the running fiber.
pub fn current_process() -> Process {
    with(|world| world.running().map(|fiber| fiber.process))
        .flatten()
        .expect("only fibers belong to a process")
}

/// Who waits, and where: to look at what stands still.
pub fn who_waits() -> String {
    with(|world| world.who_waits()).unwrap_or_default()
}

/// Whether this code runs in a fiber of an episode.
pub fn in_world() -> bool {
    WORLD.with(|world| match world.try_borrow() {
        Ok(world) => world.as_ref().is_some_and(|world| world.current.is_some()),
        Err(_) => true,
    })
}

/// Whether a fiber has ended, in whatever way.
pub fn is_finished(fiber: FiberId) -> bool {
    with(|world| matches!(world.fiber(fiber).state, State::Ended | State::Leaked)).unwrap_or(true)
}

/// Whether a fiber ended by a panic that was no kill.
pub fn has_panicked(fiber: FiberId) -> bool {
    with(|world| world.fiber(fiber).panicked).unwrap_or(false)
}

/// One step: mixes `tag` into the trace hash, and maybe lets another fiber run. Every seam call starts with one.
/// Outside of fibers, and in dead or panicking ones, it does nothing. Never unwinds.
pub fn yield_point(tag: u64) {
    if !is_futile() && with(|world| world.step(tag)) == Some(true) {
        switch::leave();
    }
}

/// Mixes `tag` into the trace hash.
pub fn trace(tag: u64) {
    with(|world| world.trace(tag));
}

/// Virtual monotonic time.
pub fn now() -> Nanos {
    with(|world| world.now).unwrap_or(0)
}

/// The wall clock, in milliseconds since 1970.
pub fn wall_millis() -> i64 {
    with(|world| world.wall_millis()).unwrap_or(0)
}

/// Sets the wall clock forward or back.
pub fn step_wall(delta_millis: i64) {
    with(|world| world.step_wall(delta_millis));
}

/// A random number of the episode's generator.
pub fn random() -> u64 {
    with(|world| world.random.next()).expect("random numbers come from an episode")
}

/// A random number below `n`; 0 for `n` = 0.
pub fn below(n: u64) -> u64 {
    with(|world| world.random.below(n)).expect("random numbers come from an episode")
}

/// `true` in `per_mille` of 1,000 cases.
pub fn chance(per_mille: u32) -> bool {
    per_mille > 0 && below(1000) < u64::from(per_mille)
}

/// Ends all fibers of a process. Nobody else runs before they have ended.
pub fn kill(process: Process) {
    if is_futile() {
        return;
    }
    assert!(process.0 != 0, "the stage manager can't be killed");
    assert!(process != current_process(), "nobody kills itself");
    with(|world| world.kill(process));
    switch::leave();
}

/// Whether the running fiber's process was killed. Outside of fibers: no.
pub fn is_dead() -> bool {
    let dead = with(|world| world.running().is_some_and(|fiber| fiber.dead)) == Some(true);
    if dead {
        count_futile();
    }
    dead
}

/// Unwinds the running fiber if it is dead; an error if it is unwinding already. Never call it below C code.
pub fn die_if_dead() -> Result<(), Dead> {
    if !is_dead() {
        return Ok(());
    }
    if std::thread::panicking() {
        return Err(Dead);
    }
    die()
}

fn die() -> ! {
    resume_unwind(Box::new(Killed))
}

/// Whether the running fiber must not let others run any more: it is dead or unwinds.
fn is_futile() -> bool {
    // While it unwinds the thread counts as panicking, for every fiber.
    let futile = is_dead() || std::thread::panicking() && in_world();
    if futile {
        count_futile();
    }
    futile
}

/// Puts an end to a dead fiber that runs on and on.
fn count_futile() {
    let endless = with(|world| {
        let fiber = world.running()?;
        fiber.futile += 1;
        (fiber.futile > FUTILE_MAX).then(|| fiber.name.clone())
    });
    let Some(Some(name)) = endless else { return };
    if std::thread::panicking() {
        eprintln!("fiber {name} waits for ever while it unwinds; the process can't go on");
        std::process::abort();
    }
    with(|world| {
        let id = world.current?;
        world.report.leaked += 1;
        world.set_state(id, State::Leaked);
        Some(())
    });
    switch::leave();
}

#[cfg(test)]
mod tests;

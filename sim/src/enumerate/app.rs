//! The application of a scene: a process with one connection, which does what it is told.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::sched::{self, FiberId, Process};
use crate::world::{DATABASE, World};

/// Waiting for a lock longer than this is somebody's fault.
const BUSY: Duration = Duration::from_secs(10);

/// What it is told. The connection is opened before if there is none.
type Job = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()>>;

enum Order {
    Work(Job),
    Disconnect,
}

/// See the module.
pub struct App {
    /// Its process.
    pub process: Process,
    main: FiberId,
    orders: Rc<RefCell<VecDeque<Order>>>,
    given: Cell<u64>,
    done: Rc<Cell<u64>>,
}

impl App {
    /// Has no connection yet.
    pub fn start(world: &World, process: Process) -> App {
        let orders: Rc<RefCell<VecDeque<Order>>> = Rc::default();
        let done: Rc<Cell<u64>> = Rc::default();
        let (world, todo, told) = (world.clone(), Rc::clone(&orders), Rc::clone(&done));
        let main = sched::spawn(process, "application", move || work(&world, &todo, &told));
        App {
            process,
            main,
            orders,
            given: Cell::new(0),
            done,
        }
    }

    /// Gives it something to do.
    pub fn work(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<()> + 'static) {
        self.give(Order::Work(Box::new(job)));
    }

    /// Closes its connection.
    pub fn disconnect(&self) {
        self.give(Order::Disconnect);
    }

    fn give(&self, order: Order) {
        self.given.set(self.given.get() + 1);
        self.orders.borrow_mut().push_back(order);
        sched::unpark(self.main);
    }

    /// Whether it has done everything.
    pub fn is_idle(&self) -> bool {
        self.done.get() == self.given.get()
    }
}

fn work(world: &World, orders: &RefCell<VecDeque<Order>>, done: &Cell<u64>) {
    let mut connection: Option<Connection> = None;
    while !sched::is_dead() {
        let order = orders.borrow_mut().pop_front();
        match order {
            None => {
                sched::park(None);
                continue;
            }
            Some(Order::Disconnect) => connection = None,
            Some(Order::Work(job)) => {
                let result = connected(world, &mut connection).and_then(job);
                if let Err(error) = result
                    && !sched::is_dead()
                {
                    world.violation(format!("O7: the application failed: {error}"));
                }
            }
        }
        done.set(done.get() + 1);
    }
}

fn connected<'a>(
    world: &World,
    connection: &'a mut Option<Connection>,
) -> rusqlite::Result<&'a Connection> {
    Ok(match connection {
        Some(connection) => connection,
        None => connection.insert(connect(world)?),
    })
}

fn connect(world: &World) -> rusqlite::Result<Connection> {
    let connection = open(DATABASE)?;
    connection.pragma_update(None, "page_size", world.plan.page_size)?;
    connection.pragma_update(None, "auto_vacuum", world.plan.auto_vacuum)?;
    let mut tries = 0;
    // SQLite does not wait for others here.
    while let Err(error) = connection.pragma_update(None, "journal_mode", "wal") {
        tries += 1;
        if tries > 200 || sched::is_dead() {
            return Err(error);
        }
        sched::sleep(50_000_000);
    }
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.execute_batch("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, body BLOB)")?;
    Ok(connection)
}

/// Opens a database as applications do.
pub fn open(path: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, "sim")?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// Carries out a statement to its last row, whatever it answers.
pub fn all(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

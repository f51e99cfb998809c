//! What the proxy breaks, and when.

use std::time::{Duration, Instant};

use super::Class;

/// What happens to a request, or to a connection where bytes are relayed.
///
/// Numbers of bytes of an answer: with 0 the client gets nothing at all, though the server has done its work; otherwise
/// it gets the head and so many bytes of the body. Where bytes are relayed they count from when the fault was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The connection is reset after so many bytes of the answer.
    CutAfter(u64),
    /// The connection is reset, to the server too, after so many bytes of the request's body.
    CutRequestAfter(u64),
    /// The connection is closed in order after so many bytes of the answer, short of what its head promised.
    Truncate(u64),
    /// Nothing comes any more after so many bytes of the answer, but the connection stays.
    Stall(u64),
    /// No more than so many bytes a second, in each direction of each connection.
    Throttle(u64),
    /// Each request waits so long before it is passed on; where bytes are relayed, all come so much later in both directions.
    Delay(Duration),
    /// The proxy answers by itself; the server does not see the request.
    Answer {
        /// The status code.
        status: u16,
        /// More headers than the length.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// New connections are reset at once.
    Refuse,
}

impl Mode {
    /// An answer without headers.
    pub fn answer(status: u16, body: &str) -> Mode {
        Mode::Answer {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }
}

/// A fault: a mode, and to what and how often it happens. At first to everything and for ever.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(super) mode: Mode,
    pub(super) class: Option<Class>,
    /// Only to targets that contain this.
    target: Option<String>,
    skip: u64,
    times: u64,
    lasting: Option<Duration>,
}

impl Fault {
    /// To everything and for ever.
    pub fn new(mode: Mode) -> Fault {
        Fault {
            mode,
            class: None,
            target: None,
            skip: 0,
            times: u64::MAX,
            lasting: None,
        }
    }

    /// Only to requests of this class.
    pub fn on(self, class: Class) -> Fault {
        Fault {
            class: Some(class),
            ..self
        }
    }

    /// Only to requests whose path and query contain this.
    pub fn target(self, part: &str) -> Fault {
        Fault {
            target: Some(part.to_owned()),
            ..self
        }
    }

    /// Lets so many pass first.
    pub fn skip(self, count: u64) -> Fault {
        Fault {
            skip: count,
            ..self
        }
    }

    /// To so many, then never again.
    pub fn times(self, count: u64) -> Fault {
        Fault {
            times: count,
            ..self
        }
    }

    /// For so long from when it is added.
    pub fn lasting(self, time: Duration) -> Fault {
        Fault {
            lasting: Some(time),
            ..self
        }
    }
}

/// A fault that was added, with what is left of it.
pub(super) struct Active {
    fault: Fault,
    since: Instant,
    seen: u64,
    pub(super) struck: u64,
    /// Bytes relayed towards the next strike.
    pub(super) bytes: u64,
}

impl From<Fault> for Active {
    fn from(fault: Fault) -> Active {
        Active {
            fault,
            since: Instant::now(),
            seen: 0,
            struck: 0,
            bytes: 0,
        }
    }
}

impl Active {
    pub(super) fn mode(&self) -> &Mode {
        &self.fault.mode
    }

    /// Whether it happens to the next thing of its kind; counts what is let pass.
    pub(super) fn is_due(&mut self, request: Option<(Class, &str)>) -> bool {
        let fault = &self.fault;
        let expired = fault
            .lasting
            .is_some_and(|time| self.since.elapsed() > time);
        let class_fits = fault
            .class
            .is_none_or(|class| request.is_some_and(|(of, _)| of == class));
        let target_fits = fault
            .target
            .as_ref()
            .is_none_or(|part| request.is_some_and(|(_, target)| target.contains(part)));
        if expired || self.struck >= fault.times || !class_fits || !target_fits {
            return false;
        }
        self.seen += 1;
        self.seen > fault.skip
    }

    pub(super) fn strike(&mut self) {
        self.struck += 1;
        self.bytes = 0;
    }
}

/// What happens to one request, of all faults together.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
    /// The first fault that does more than slow it down.
    pub(super) mode: Option<Mode>,
}

impl Plan {
    pub(super) fn of(faults: &mut [Active], class: Class, target: &str) -> Plan {
        let mut plan = Plan::default();
        for active in faults {
            let ends = !matches!(active.mode(), Mode::Delay(_) | Mode::Throttle(_));
            let too_late = ends && plan.mode.is_some();
            let refusal = matches!(active.mode(), Mode::Refuse);
            if too_late || refusal || !active.is_due(Some((class, target))) {
                continue;
            }
            active.strike();
            match active.mode() {
                Mode::Delay(time) => plan.delay += *time,
                Mode::Throttle(rate) => plan.rate = Some(*rate),
                mode => plan.mode = Some(mode.clone()),
            }
        }
        plan
    }
}

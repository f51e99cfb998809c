//! HTTP for all storage that is reached by it: one client, one way to trust, to wait, to count and to fail.
//!
//! Promise: the request target goes out exactly as given (`/./0000/x` stays that); a request ends, at the latest when nothing has moved for
//! [`IDLE_MAX`]; there is no limit on how long one may take that moves; nothing here tries again.

mod answer;
mod client;
mod connect;
mod fail;
mod head;
mod payload;
pub(crate) mod range;
mod tls;
mod xml;

pub(crate) use answer::Answer;
pub(crate) use client::{Client, Options, uri};
pub(crate) use fail::{Refusal, chain, classify, date_millis, hint};
pub(crate) use head::Head;
pub(crate) use payload::Payload;
pub(crate) use tls::read as read_small;
pub(crate) use xml::Xml;

use std::time::Duration;

/// To reach a server: name, TCP, proxy and TLS together.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How long nothing may move in either direction while a request is under way.
pub(crate) const IDLE_MAX: Duration = Duration::from_mins(1);

#[cfg(test)]
#[allow(dead_code, reason = "not every storage needs all of it")]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;

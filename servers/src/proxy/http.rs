//! The proxy for HTTP/1.1: one request after the other, each with its own fate.

use std::io::{BufReader, Result, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;

use super::fault::{Mode, Plan};
use super::message::{Framing, Head, pass_body, write_answer};
use super::{Class, Exchange, Shared, lock, reset};

/// Serves one connection until either side ends it or a fault does.
pub(super) fn serve(shared: &Shared, client: &TcpStream) {
    let mut connection = Connection {
        shared,
        client,
        requests: BufReader::new(client),
        server: None,
    };
    loop {
        match connection.exchange() {
            Ok(After::Next) => {}
            Ok(After::Close) => return,
            // Also when the server is gone: the client sees what it would see without us.
            Ok(After::Reset) | Err(_) => return reset(client),
        }
    }
}

/// What becomes of the connection.
enum After {
    Next,
    Close,
    Reset,
}

struct Connection<'a> {
    shared: &'a Shared,
    client: &'a TcpStream,
    requests: BufReader<&'a TcpStream>,
    server: Option<BufReader<TcpStream>>,
}

impl Connection<'_> {
    fn exchange(&mut self) -> Result<After> {
        let Some(head) = Head::read(&mut self.requests)? else {
            return Ok(After::Close);
        };
        let (method, target) = (head.word(0).to_owned(), head.word(1).to_owned());
        let class = Class::of(&method, &target);
        let plan = Plan::of(&mut lock(&self.shared.faults), class, &target);
        let mut exchange = Exchange {
            method,
            target,
            class,
            status: None,
            bytes_up: 0,
            bytes_down: 0,
        };
        let shared = self.shared;
        let at_once = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_in_flight.fetch_max(at_once, Ordering::SeqCst);
        let after = self.fulfil(&head, &plan, &mut exchange);
        shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        shared
            .bytes_up
            .fetch_add(exchange.bytes_up, Ordering::SeqCst);
        shared
            .bytes_down
            .fetch_add(exchange.bytes_down, Ordering::SeqCst);
        shared.remember(exchange);
        after
    }

    fn fulfil(&mut self, head: &Head, plan: &Plan, exchange: &mut Exchange) -> Result<After> {
        std::thread::sleep(plan.delay);
        if head.expects_continue() {
            self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        exchange.bytes_up = head.bytes.len() as u64;
        if let Some(Mode::Answer {
            status,
            headers,
            body,
        }) = &plan.mode
        {
            let bytes_up = &mut exchange.bytes_up;
            let swallow = |bytes: &[u8]| {
                *bytes_up += bytes.len() as u64;
                Ok(())
            };
            let framing = head.request_framing();
            pass_body(&mut self.requests, swallow, framing, plan.rate, u64::MAX)?;
            let with_body = exchange.method != "HEAD";
            exchange.bytes_down =
                write_answer(&mut self.client, *status, headers, body, with_body)?;
            exchange.status = Some(*status);
            return Ok(if head.closes() {
                After::Close
            } else {
                After::Next
            });
        }
        if !self.send(head, plan, exchange)? {
            // The server must see the end too.
            if let Some(server) = self.server.take() {
                reset(server.get_ref());
            }
            return Ok(After::Reset);
        }
        self.receive(head, plan, exchange)
    }

    /// Passes the request on. Says whether it was whole.
    fn send(&mut self, head: &Head, plan: &Plan, exchange: &mut Exchange) -> Result<bool> {
        let limit = match plan.mode {
            Some(Mode::CutRequestAfter(limit)) => limit,
            _ => u64::MAX,
        };
        let bytes = head.without("expect");
        let mut server = match self.server.take() {
            Some(server) => server,
            None => BufReader::new(self.shared.connect()?),
        };
        // A server may have closed a connection that was idle: then the request goes over another.
        if server.get_ref().write_all(&bytes).is_err() || is_closed(server.get_ref()) {
            server = BufReader::new(self.shared.connect()?);
            server.get_ref().write_all(&bytes)?;
        }
        let mut to = server.get_ref();
        let mut server_reads = true;
        let bytes_up = &mut exchange.bytes_up;
        let pass = |bytes: &[u8]| {
            *bytes_up += bytes.len() as u64;
            // One that answers early may not read to the end; its answer counts.
            server_reads = server_reads && to.write_all(bytes).is_ok();
            Ok(())
        };
        let framing = head.request_framing();
        let whole = pass_body(&mut self.requests, pass, framing, plan.rate, limit)?;
        self.server = Some(server);
        Ok(whole && limit == u64::MAX)
    }

    /// Passes the answer on.
    fn receive(&mut self, head: &Head, plan: &Plan, exchange: &mut Exchange) -> Result<After> {
        let Some(mut server) = self.server.take() else {
            return Ok(After::Reset);
        };
        let mut answer = loop {
            let Some(answer) = Head::read(&mut server)? else {
                return Ok(After::Reset);
            };
            if answer.status() >= 200 {
                break answer;
            }
        };
        let limit = match plan.mode {
            Some(Mode::CutAfter(limit) | Mode::Truncate(limit) | Mode::Stall(limit)) => limit,
            _ => u64::MAX,
        };
        if limit > 0 {
            let mut client = self.client;
            client.write_all(&answer.bytes)?;
            exchange.bytes_down = answer.bytes.len() as u64;
            exchange.status = Some(answer.status());
        }
        let framing = answer.answer_framing(&exchange.method);
        let mut whole = limit > 0;
        if whole {
            let mut client = self.client;
            let bytes_down = &mut exchange.bytes_down;
            let pass = |bytes: &[u8]| {
                client.write_all(bytes)?;
                *bytes_down += bytes.len() as u64;
                Ok(())
            };
            whole = pass_body(&mut server, pass, framing, plan.rate, limit)?;
        }
        if !whole {
            return Ok(self.broken_off(plan));
        }
        if framing == Framing::ToEnd || answer.closes() || head.closes() {
            let _ = self.client.shutdown(Shutdown::Write);
            return Ok(After::Close);
        }
        answer.bytes.clear();
        self.server = Some(server);
        Ok(After::Next)
    }

    /// What becomes of a connection whose answer was not passed on whole.
    fn broken_off(&self, plan: &Plan) -> After {
        match plan.mode {
            Some(Mode::Truncate(_)) => {
                let _ = self.client.shutdown(Shutdown::Write);
                After::Close
            }
            Some(Mode::Stall(_)) => {
                self.shared.stall(|| !is_closed(self.client));
                After::Reset
            }
            _ => After::Reset,
        }
    }
}

/// Whether the other side has closed the connection. Its data, if any, stays to be read.
fn is_closed(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let closed = match stream.peek(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => !super::is_timeout(&error),
    };
    closed || stream.set_nonblocking(false).is_err()
}

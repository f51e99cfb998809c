//! A server that answers as it is told to: what real ones do only when they are slow.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::meta::Meta;
use super::*;
use crate::settings::{Keys, Value as Setting};
use crate::{ErrorKind, SharedReplica};

/// What is answered to a request: a header with a status, or nothing; then the body. Several for one that asks for messages.
type Answer = Vec<Message>;

#[derive(Clone, Default)]
struct Message {
    /// Where an acknowledgement would go, which says what the message's place is.
    reply: String,
    status: &'static str,
    body: String,
}

fn json_answer(body: &Value) -> Answer {
    vec![Message {
        body: body.to_string(),
        ..Message::default()
    }]
}

/// One of a consumer's messages: which one, and how many are said to be left.
fn delivered(nth: u64, left: u64, body: String) -> Message {
    Message {
        reply: format!("$JS.ACK.OBJ_b.c.1.{nth}.{nth}.1700000000000000000.{left}"),
        body,
        ..Message::default()
    }
}

fn timeout() -> Message {
    Message {
        status: "NATS/1.0 408 Request Timeout\r\n\r\n",
        ..Message::default()
    }
}

type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves until the test ends. Its host, and what was asked for, without the stream's name.
fn serve(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (log, answer): (Log, _) = (Arc::default(), Arc::new(answer));
    let seen = Arc::clone(&log);
    thread(move || {
        for stream in listener.incoming().flatten() {
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            thread(move || {
                // A client that goes away ends its connection.
                let _ = converse(&stream, &*answer, &seen);
            });
        }
    });
    (host, log)
}

fn thread(work: impl FnOnce() + Send + 'static) {
    let spawn = crate::env::real::env().spawn;
    drop(spawn.spawn("server", Box::new(work)).unwrap());
}

fn converse(
    stream: &TcpStream,
    answer: &dyn Fn(&str, &Value) -> Answer,
    log: &Log,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let info = json!({"server_id": "s", "server_name": "s", "version": "2.10.0", "go": "", "host": "", "port": 1,
        "headers": true, "max_payload": 1 << 20, "proto": 1, "jetstream": true});
    write!(writer, "INFO {info}\r\n")?;
    let mut subscribed: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["PING"] => write!(writer, "PONG\r\n")?,
            ["SUB", subject, .., id] => subscribed.push((subject.to_owned(), id.to_owned())),
            ["PUB", subject, reply, len] => {
                let mut body = vec![0; len.parse::<usize>().unwrap() + 2];
                reader.read_exact(&mut body)?;
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let asked = subject.trim_start_matches("$JS.API.").replace(".OBJ_b", "");
                let answers = answer(&asked, &body);
                log.lock().push((asked, body));
                let id = subscribed.iter().find(|(subject, _)| {
                    subject == reply
                        || subject
                            .strip_suffix('*')
                            .is_some_and(|begin| reply.starts_with(begin))
                });
                let Some((_, id)) = id else { continue };
                for Message {
                    reply: ack,
                    status,
                    body,
                } in answers
                {
                    let head = status.len();
                    let all = head + body.len();
                    if head > 0 {
                        write!(
                            writer,
                            "HMSG {reply} {id} {head} {all}\r\n{status}{body}\r\n"
                        )?;
                    } else {
                        write!(writer, "MSG {reply} {id} {ack} {all}\r\n{body}\r\n")?;
                    }
                }
            }
            _ => {}
        }
    }
}

fn open(host: &str) -> SharedReplica {
    let mut keys = Keys::new();
    keys.set("url", Setting::Text(format!("nats://{host}/b")));
    let storage = Storage::read(&keys, &Keys::new()).unwrap();
    let Storage::Nats(settings) = storage else {
        panic!("not nats");
    };
    let env = crate::env::real::env();
    Arc::new(NatsReplica::new(&settings, &Opening::command(&env)).unwrap())
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn meta(txid: u64) -> Meta {
    Meta {
        name: format!("ltx/0/{}", name(txid)),
        bucket: "b".to_owned(),
        nuid: format!("N{txid}"),
        size: 6,
        chunks: 2,
        ..Meta::default()
    }
}

fn consumer(pending: u64, delivered: u64) -> Value {
    json!({"stream_name": "OBJ_b", "name": "c", "created": "2026-11-20T09:59:17Z", "config": {"deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant"},
        "delivered": {"consumer_seq": delivered, "stream_seq": delivered}, "ack_floor": {"consumer_seq": 0, "stream_seq": 0},
        "num_ack_pending": 0, "num_redelivered": 0, "num_waiting": 0, "num_pending": pending})
}

/// A bucket with two objects of which the server sends one in time, as often as `slow` says; `at_end` is what it says of its consumer then.
fn two_objects(slow: u32, at_end: Value) -> impl Fn(&str, &Value) -> Answer + Send + Sync {
    let slow = Mutex::new(slow);
    let text = |txid| serde_json::to_string(&meta(txid)).unwrap();
    move |asked, _| match asked {
        "STREAM.INFO" => {
            json_answer(&json!({"state": {"messages": 2, "last_seq": 2, "first_seq": 1}}))
        }
        "CONSUMER.CREATE" => json_answer(&consumer(2, 0)),
        "CONSUMER.INFO.c" => json_answer(&at_end),
        "CONSUMER.MSG.NEXT.c" => {
            let mut slow = slow.lock();
            if *slow > 0 {
                *slow -= 1;
                return vec![delivered(1, 1, text(1)), timeout()];
            }
            vec![
                delivered(1, 1, text(1)),
                delivered(2, 0, text(2)),
                timeout(),
            ]
        }
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_listing_that_was_cut_short_is_none() {
    // The rest is not sent, or was sent and did not come.
    for at_end in [consumer(1, 1), consumer(0, 2)] {
        let (host, _) = serve(two_objects(1, at_end));
        let replica = open(&host);
        let error = replica.list(Level::L0, None, false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        let listed = replica.list(Level::L0, None, false).await.unwrap();
        assert_eq!(listed.len(), 2);
    }
}

#[tokio::test]
async fn chunks_are_no_strays_as_long_as_the_listing_is_not_whole() {
    // Old chunks: of the object that the server is slow to tell of, and of none.
    let (used, stray) = (
        key::chunks_id(1_700_000_000_000, 1),
        key::chunks_id(1_700_000_000_000, 2),
    );
    let of = |txid, nuid: &str| {
        let meta = Meta {
            nuid: nuid.to_owned(),
            ..meta(txid)
        };
        serde_json::to_string(&meta).unwrap()
    };
    let (first, second) = (of(1, "N1"), of(2, &used));
    let subjects = [&used, &stray].map(|id| (chunk_subject("b", id), json!(1)));
    let subjects: serde_json::Map<String, Value> = subjects.into_iter().collect();
    let listings = Mutex::new(0);
    let (host, log) = serve(move |asked, body| match asked {
        "STREAM.INFO" if body["subjects_filter"].is_string() => {
            json_answer(&json!({"total": 2, "state": {"subjects": subjects}}))
        }
        "STREAM.INFO" => json_answer(&json!({"state": {"messages": 2, "last_seq": 2}})),
        "CONSUMER.CREATE" => json_answer(&consumer(2, 0)),
        "CONSUMER.INFO.c" => json_answer(&consumer(1, 1)),
        "CONSUMER.MSG.NEXT.c" => {
            *listings.lock() += 1;
            let mut sent = vec![delivered(1, 1, first.clone())];
            if *listings.lock() > 1 {
                sent.push(delivered(2, 0, second.clone()));
            }
            sent.push(timeout());
            sent
        }
        "STREAM.PURGE" => json_answer(&json!({"success": true, "purged": 1})),
        _ => Vec::new(),
    });
    let replica = open(&host);
    let purged = || {
        let log = log.lock();
        let purges = log.iter().filter(|(asked, _)| asked == "STREAM.PURGE");
        purges
            .map(|(_, body)| body["filter"].clone())
            .collect::<Vec<_>>()
    };
    assert!(replica.tidy().await.unwrap_err().is_retryable());
    assert!(purged().is_empty());
    replica.tidy().await.unwrap();
    assert_eq!(purged(), [json!(chunk_subject("b", &stray))]);
}

#[tokio::test]
async fn what_was_removed_while_it_was_listed_is_not_waited_for() {
    let (host, _) = serve(two_objects(1, consumer(0, 1)));
    let listed = open(&host).list(Level::L0, None, false).await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn a_slow_server_has_not_lost_a_file() {
    use base64::Engine;
    let text = serde_json::to_string(&meta(1)).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let (host, _) = serve(move |asked, _| match asked {
        "STREAM.MSG.GET" => json_answer(&json!({"message": {"data": text, "seq": 3}})),
        "CONSUMER.CREATE" => json_answer(&consumer(2, 0)),
        "CONSUMER.INFO.c" => json_answer(&consumer(1, 1)),
        "CONSUMER.MSG.NEXT.c" => vec![delivered(1, 1, "abc".to_owned()), timeout()],
        _ => Vec::new(),
    });
    let read = open(&host).read(Level::L0, name(1), 0, None).await;
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn only_the_version_that_was_found_is_removed() {
    use base64::Engine;
    let text = serde_json::to_string(&meta(1)).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let (host, log) = serve(move |asked, _| match asked {
        "STREAM.MSG.GET" => json_answer(&json!({"message": {"data": text, "seq": 3}})),
        _ => json_answer(&json!({"success": true, "purged": 1})),
    });
    open(&host).delete(&[(Level::L0, name(1))]).await.unwrap();
    let log = log.lock().clone();
    let purges: Vec<Value> = log
        .into_iter()
        .filter(|(asked, _)| asked == "STREAM.PURGE")
        .map(|(_, body)| body)
        .collect();
    let subject = meta_subject("b", &meta(1).name);
    assert_eq!(
        purges,
        [
            json!({"filter": subject, "seq": 4}),
            json!({"filter": "$O.b.C.N1"})
        ]
    );
}

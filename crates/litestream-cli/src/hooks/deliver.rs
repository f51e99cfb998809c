//! Brings messages to one receiver: a server or a command.
//!
//! Promise: a receiver that does not take a message holds up nobody else, and messages that wait take bounded memory.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Clock, Entropy};
use litestream_replica::retry::Backoff;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::Action;
use super::changes::Message;
use crate::client::{Client, TIME_LIMIT};

/// As many wait for a receiver; what comes then is dropped, and the log says so.
const QUEUE_MAX: usize = 256;
/// How often one is tried again.
const RETRIES: u32 = 3;
/// The first wait before that.
const RETRY_WAIT: Duration = Duration::from_secs(2);

/// Messages for one receiver.
pub(super) struct Mailbox {
    name: String,
    sender: mpsc::Sender<Message>,
}

impl Mailbox {
    /// An empty one, and the other end of it.
    pub fn new(name: String) -> (Mailbox, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Mailbox { name, sender }, receiver)
    }

    /// Puts a message in, if there is room.
    pub fn put(&self, message: Message) {
        if self.sender.try_send(message).is_err() {
            let hook = &self.name;
            warn!(system = "store", hook, "hook is too slow, message dropped");
        }
    }
}

/// Who brings them.
pub(super) struct Carrier {
    pub name: String,
    pub action: Action,
    pub client: Arc<Client>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Carrier {
    /// Brings one after the other, until no more can come.
    pub async fn run(self, mut mailbox: mpsc::Receiver<Message>) {
        while let Some(message) = mailbox.recv().await {
            self.bring(&message).await;
        }
    }

    async fn bring(&self, message: &Message) {
        let body = message.json();
        let mut backoff = Backoff::new(RETRY_WAIT);
        let hook = &self.name;
        for retry in 0..=RETRIES {
            if retry > 0 {
                let wait = backoff.next(self.entropy.next_u64());
                self.clock.sleep_async(wait).await;
            }
            match self.try_once(&body).await {
                Ok(()) => {
                    debug!(
                        system = "store",
                        hook,
                        event = message.event.word(),
                        "hook called"
                    );
                    return;
                }
                Err(error) if retry < RETRIES => {
                    debug!(system = "store", hook, error, "hook failed, trying again");
                }
                Err(error) => {
                    let event = message.event.word();
                    let path = message.database.display();
                    error!(system = "store", hook, event, %path, error, "hook failed");
                }
            }
        }
    }

    async fn try_once(&self, body: &str) -> Result<(), String> {
        match &self.action {
            Action::Webhook(url) => {
                let sent = self
                    .client
                    .post_json(url.expose(), body.to_owned(), &*self.clock);
                sent.await
            }
            Action::Command(words) => command(words, body, &*self.clock).await,
        }
    }
}

/// Runs a command with the message as its input. It is killed when its time is over.
async fn command(words: &[String], body: &str, clock: &dyn Clock) -> Result<(), String> {
    let (program, args) = words.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        // The output of the program is its log, in its own form.
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let started = command.spawn();
    let mut child = started.map_err(|error| format!("start {program}: {error}"))?;
    let input = child.stdin.take();
    let run = async {
        if let Some(mut input) = input {
            // Not to read it is the command's own affair.
            let _ = input.write_all(format!("{body}\n").as_bytes()).await;
        }
        child.wait().await
    };
    tokio::select! {
        status = run => match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{program}: {status}")),
            Err(error) => Err(format!("wait for {program}: {error}")),
        },
        () = clock.sleep_async(TIME_LIMIT) => {
            Err(format!("{program}: not done within {} seconds, killed", TIME_LIMIT.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use litestream_replica::env::{UnixMillis, real};
    use litestream_replica::settings::Secret;

    use super::*;
    use crate::config::AlertOn as Event;
    use crate::testing::{fast_clock, server};

    fn message() -> Message {
        Message {
            event: Event::Lag,
            of: None,
            database: PathBuf::from("/d/a.db"),
            time: UnixMillis(0),
            text: "late".into(),
        }
    }

    fn carrier(action: Action, clock: Arc<dyn Clock>) -> Carrier {
        Carrier {
            name: "test".into(),
            action,
            client: Arc::new(Client::new().unwrap()),
            clock,
            entropy: real::env().entropy,
        }
    }

    #[tokio::test]
    async fn a_webhook_is_tried_again() {
        let (url, mut asked) = server(vec![500, 503, 404, 200]).await;
        let clock = fast_clock();
        let webhook = Action::Webhook(Secret::new(format!("{url}/hook")));
        carrier(webhook, clock.clone()).bring(&message()).await;
        for _ in 0..4 {
            let request = asked.recv().await.unwrap();
            assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("content-type: application/json\r\n"));
            assert!(request.ends_with(&message().json()), "{request}");
        }
        // 2, 4 and 8 seconds, each up to a quarter shorter.
        assert!(clock.monotonic().0 >= Duration::from_millis(10_500));
    }

    #[tokio::test]
    async fn it_is_given_up_after_three_retries() {
        let (url, mut asked) = server(vec![500; 6]).await;
        carrier(Action::Webhook(Secret::new(url)), fast_clock())
            .bring(&message())
            .await;
        let mut count = 0;
        while asked.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 4);
    }

    #[tokio::test]
    async fn a_command_reads_the_message() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let words = ["sh", "-c", "cat > \"$0\"", out.to_str().unwrap()];
        let clock = real::env().clock;
        let words = words.map(String::from);
        command(&words, &message().json(), &*clock).await.unwrap();
        let mut bytes = vec![0; 1024];
        let file = real::env().disk.open(&out).unwrap();
        let n = file.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(n);
        assert_eq!(String::from_utf8(bytes).unwrap(), message().json() + "\n");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_how() {
        let clock = real::env().clock;
        let run = async |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            command(&words, "{}", &*clock).await.unwrap_err()
        };
        assert_eq!(run(&["sh", "-c", "exit 3"]).await, "sh: exit status: 3");
        let missing = run(&["/no/such/program"]).await;
        assert!(missing.starts_with("start /no/such/program: "), "{missing}");
    }

    /// A clock on which every time limit is over at once.
    struct Over;

    #[async_trait::async_trait]
    impl Clock for Over {
        fn boot(&self) -> Option<u128> {
            None
        }
        fn now(&self) -> UnixMillis {
            UnixMillis(0)
        }
        fn monotonic(&self) -> litestream_replica::env::Monotonic {
            litestream_replica::env::Monotonic::default()
        }
        fn sleep(&self, _: Duration) {}
        async fn sleep_async(&self, _: Duration) {}
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed() {
        let words = ["sleep", "1000"].map(String::from);
        let error = command(&words, "{}", &Over).await.unwrap_err();
        assert_eq!(error, "sleep: not done within 30 seconds, killed");
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let (mailbox, mut receiver) = Mailbox::new("test".into());
        for _ in 0..QUEUE_MAX + 5 {
            mailbox.put(message());
        }
        drop(mailbox);
        let mut count = 0;
        while receiver.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, QUEUE_MAX);
    }
}

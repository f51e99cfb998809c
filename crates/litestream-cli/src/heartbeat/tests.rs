//! When it beats.

use super::*;
use crate::testing::{fast_clock, server};
use crate::view::Phase;
use crate::view::tests::{Shown, well};

const INTERVAL: Duration = Duration::from_mins(5);

fn due(change: impl FnOnce(&mut Vec<Database>)) -> bool {
    let mut databases = vec![well("/d/a.db"), well("/d/b.db")];
    change(&mut databases);
    let at = Moment {
        monotonic: Monotonic(Duration::from_secs(1000)),
        wall: UnixMillis(1_000_000),
        last: None,
    };
    is_due(&databases, at, INTERVAL)
}

#[test]
fn all_open_databases_must_be_well() {
    assert!(due(|_| {}));
    assert!(!due(Vec::clear));
    assert!(!due(|d| d[1].replicas[0].lag = None));
    let behind = |synced_at| {
        due(|d| {
            d[1].replicas[0].lag = Some(Duration::from_millis(1));
            d[1].replicas[0].synced_at = synced_at;
        })
    };
    assert!(!behind(None));
    assert!(behind(Some(UnixMillis(700_000))));
    assert!(!behind(Some(UnixMillis(699_999))));
    assert!(!due(|d| d[0].capture_error = Some("x".into())));
    assert!(!due(|d| d[0].replicas[0].upload_error = Some("x".into())));
}

#[test]
fn databases_that_are_not_open_say_nothing() {
    let not_open: [fn(&mut Database); 3] = [
        |d| d.phase = Phase::Stopped,
        |d| d.was_opened = false,
        |d| (d.is_missing, d.capture_error) = (true, Some("no such file".into())),
    ];
    for change in not_open {
        assert!(due(|d| change(&mut d[0])));
        assert!(!due(|d| d.iter_mut().for_each(change)));
    }
}

#[test]
fn attempts_keep_their_distance() {
    let databases = [well("/d/a.db")];
    let at = |seconds| Moment {
        monotonic: Monotonic(Duration::from_secs(seconds)),
        wall: UnixMillis(0),
        last: Some(Monotonic(Duration::from_secs(100))),
    };
    assert!(!is_due(&databases, at(399), INTERVAL));
    assert!(is_due(&databases, at(400), INTERVAL));
}

fn options(url: &str, interval: Duration) -> Option<Options> {
    let url = url.to_owned();
    Options::of(&Heartbeat { url, interval })
}

#[test]
fn without_an_address_nobody_is_pinged() {
    assert_eq!(options("", INTERVAL), None);
    let is = options("https://h/x", INTERVAL).unwrap();
    assert_eq!((is.url.as_str(), is.interval), ("https://h/x", INTERVAL));
}

#[tokio::test]
async fn pings_are_sent_while_all_is_well_and_failures_wait_for_the_next() {
    let (url, mut asked) = server(vec![200, 500, 200]).await;
    let (shown, clock) = (Shown::default(), fast_clock());
    shown.0.lock().push(well("/d/a.db"));
    let options = options(&format!("{url}/ping"), Duration::from_mins(1));
    let client = Arc::new(Client::new().unwrap());
    let running = tokio::spawn(run(
        options.unwrap(),
        client,
        Arc::new(shown),
        clock.clone(),
    ));
    let mut times = Vec::new();
    for _ in 0..3 {
        let request = asked.recv().await.unwrap();
        assert!(request.starts_with("GET /ping HTTP/1.1\r\n"), "{request}");
        times.push(clock.monotonic().0);
    }
    running.abort();
    assert!(times[0] >= CHECK);
    assert!(
        times
            .windows(2)
            .all(|t| t[1] >= t[0] + Duration::from_secs(45)),
        "{times:?}"
    );
}

#[tokio::test]
async fn errors_say_why_without_the_address() {
    let clock = fast_clock();
    let client = Client::new().unwrap();
    let (url, _asked) = server(vec![500]).await;
    let answer = client.get(&url, &*clock).await;
    assert_eq!(answer.unwrap_err(), "unexpected status code: 500");
    // Nobody listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let secret = format!("http://127.0.0.1:{port}/secret");
    let error = client.get(&secret, &*clock).await.unwrap_err();
    assert!(
        error.starts_with("http request: ") && error.contains("refused"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
}

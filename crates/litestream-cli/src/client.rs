//! Short requests to other people's servers: heartbeat pings and webhooks.
//!
//! Promise: each ends within its time limit, and reads nothing of the answer but its status.

use std::fmt::Write as _;
use std::time::Duration;

use litestream_replica::env::Clock;

/// A request takes no longer than this.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// See the module. Follows redirects and the proxies that the environment names, as Litestream does.
pub struct Client(reqwest::Client);

impl Client {
    /// Reads the certificates that the system trusts.
    pub fn new() -> Result<Client, String> {
        // One cryptographic library in the whole program. An error says that it is in place already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agent = concat!("litestream/", env!("CARGO_PKG_VERSION"));
        let built = reqwest::Client::builder()
            .user_agent(agent)
            // One request in minutes: an open connection would only be watched over.
            .pool_max_idle_per_host(0)
            .build();
        built.map(Client).map_err(text)
    }

    /// A plain GET.
    pub async fn get(&self, url: &str, clock: &dyn Clock) -> Result<(), String> {
        send(self.0.get(url), clock).await
    }

    /// POSTs a JSON document.
    pub async fn post_json(
        &self,
        url: &str,
        body: String,
        clock: &dyn Clock,
    ) -> Result<(), String> {
        let request = self.0.post(url);
        let request = request
            .header("Content-Type", "application/json")
            .body(body);
        send(request, clock).await
    }
}

async fn send(request: reqwest::RequestBuilder, clock: &dyn Clock) -> Result<(), String> {
    let answer = tokio::select! {
        answer = request.send() => answer,
        () = clock.sleep_async(TIME_LIMIT) => {
            return Err(format!("http request: no answer within {} seconds", TIME_LIMIT.as_secs()));
        }
    };
    let status = answer.map_err(text)?.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("unexpected status code: {}", status.as_u16()))
    }
}

/// The error with its causes. The address is left out: it may be a secret, and the caller says whom it asked.
fn text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = format!("http request: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

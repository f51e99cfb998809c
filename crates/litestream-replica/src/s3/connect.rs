//! The SDK's requests go out through our own HTTP client: its proxies, its trust, its idle time-outs and its limits count here, too.
//!
//! Promise: a body that was handed over as a [`Payload`] is read as it is sent, and never held as a whole.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::USER_AGENT;
use http_body::Frame;
use parking_lot::Mutex;

use super::talk::Talk;
use crate::net::{Answer, Client, Payload};
use crate::{Error, ErrorKind};

/// What is really sent, in a request that has no body of its own.
#[derive(Clone, Debug)]
pub(super) struct Sent(pub(super) Payload);

/// The HTTP client as the SDK wants it.
pub(super) fn http_client(client: &Client, talk: Talk) -> SharedHttpClient {
    let client = client.clone();
    http_client_fn(move |settings, _| {
        // Only who asks a machine that may not exist (the metadata service, by an address that leads nowhere) limits the wait for
        // the answer. Otherwise the client's own time-outs hold.
        let limit = settings
            .read_timeout()
            .map(|read| read + settings.connect_timeout().unwrap_or_default());
        SharedHttpConnector::new(Connector {
            client: client.clone(),
            talk,
            limit,
        })
    })
}

struct Connector {
    client: Client,
    talk: Talk,
    /// Until the answer's head is there.
    limit: Option<Duration>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, talk, limit) = (self.client.clone(), self.talk, self.limit);
        HttpConnectorFuture::new(async move {
            let clock = Arc::clone(&client.env().clock);
            let sent = send(client, talk, request);
            match limit {
                None => sent.await,
                Some(limit) => tokio::select! {
                    answer = sent => answer,
                    () = clock.sleep_async(limit) => {
                        Err(ConnectorError::timeout(Box::new(late(limit))))
                    }
                },
            }
        })
    }
}

fn late(limit: Duration) -> Error {
    let text = format!("no answer within {} s", limit.as_secs_f32());
    Error::new(ErrorKind::Unreachable, "", "", text)
}

async fn send(
    client: Client,
    talk: Talk,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let user = |e: aws_smithy_runtime_api::http::HttpError| ConnectorError::user(e.into());
    let (mut head, body) = request.try_into_http1x().map_err(user)?.into_parts();
    let payload = match (head.extensions.remove::<Sent>(), body.bytes()) {
        (Some(Sent(payload)), _) => payload,
        (None, Some(bytes)) => Payload::Bytes(Bytes::copy_from_slice(bytes)),
        (None, None) => return Err(ConnectorError::user("a body of unknown length".into())),
    };
    // Not signed; the client says who we are.
    head.headers.remove(USER_AGENT);
    talk.request(&head, &payload);
    let sent = client.send("", "", http::Request::from_parts(head, payload));
    let answer = sent.await.map_err(|e| ConnectorError::io(Box::new(e)))?;
    talk.answer(&answer);
    let mut response = http::Response::new(());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    let response = response.map(|()| SdkBody::from_body_1_x(Coming::new(answer)));
    HttpResponse::try_from(response).map_err(user)
}

/// A body as it comes. The lock is never waited for: it only makes the stream one that could be shared, which the SDK asks for.
struct Coming(Mutex<BoxStream<'static, crate::Result<Bytes>>>);

impl Coming {
    fn new(answer: Answer) -> Coming {
        let chunks = stream::try_unfold(answer, |mut answer| async {
            let chunk = answer.chunk().await?;
            Ok(chunk.map(|bytes| (bytes, answer)))
        });
        Coming(Mutex::new(chunks.boxed()))
    }
}

impl http_body::Body for Coming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = self.0.get_mut().poll_next_unpin(cx);
        next.map(|chunk| chunk.map(|bytes| bytes.map(Frame::data)))
    }
}

//! Answers: status, headers, and a document or a line of text.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use crate::out;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
}

impl Answer {
    /// A document.
    pub fn ok(document: &impl Serialize) -> Answer {
        Answer::json(StatusCode::OK, document)
    }

    /// What went wrong.
    pub fn error(status: StatusCode, error: &str) -> Answer {
        Answer::json(
            status,
            &Failure {
                error,
                details: None,
                status: None,
            },
        )
    }

    /// The client's fault.
    pub fn bad(error: &str) -> Answer {
        Answer::error(StatusCode::BAD_REQUEST, error)
    }

    /// Nobody's fault that is known.
    pub fn failed(error: &str) -> Answer {
        Answer::error(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// It failed, and this is how things are now.
    pub fn failed_as(error: &str, now: &str) -> Answer {
        let failure = Failure {
            error,
            details: None,
            status: Some(now),
        };
        Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &failure)
    }

    /// The body is no JSON object, or its fields are of other types.
    pub fn undecodable(details: &str) -> Answer {
        let failure = Failure {
            error: "invalid request body",
            details: Some(details),
            status: None,
        };
        Answer::json(StatusCode::BAD_REQUEST, &failure)
    }

    /// There is nothing at this address.
    pub fn nowhere() -> Answer {
        Answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    /// There is, but not for this method.
    pub fn not_allowed(methods: &'static str) -> Answer {
        let mut answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        answer
            .headers
            .push((header::ALLOW, HeaderValue::from_static(methods)));
        answer
    }

    /// It is elsewhere. An address that is no header value can't be redirected to.
    pub fn moved(method: &Method, location: &str) -> Answer {
        let Ok(value) = HeaderValue::from_bytes(location.as_bytes()) else {
            return Answer::nowhere();
        };
        let mut headers = vec![(header::LOCATION, value)];
        let mut body = String::new();
        if *method == Method::GET || *method == Method::HEAD {
            headers.push((header::CONTENT_TYPE, HTML));
            let shown = location
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            let shown = shown.replace('"', "&#34;").replace('\'', "&#39;");
            body = format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n");
        }
        Answer {
            status: StatusCode::MOVED_PERMANENTLY,
            headers,
            body,
        }
    }

    fn json(status: StatusCode, document: &impl Serialize) -> Answer {
        match out::json_line(document) {
            Ok(body) => Answer {
                status,
                headers: vec![(header::CONTENT_TYPE, JSON)],
                body,
            },
            // Not seen: the documents are plain data.
            Err(e) => Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("cannot encode the answer: {e}\n"),
            ),
        }
    }

    fn text(status: StatusCode, body: &str) -> Answer {
        let sniff = (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        Answer {
            status,
            headers: vec![(header::CONTENT_TYPE, TEXT), sniff],
            body: body.to_owned(),
        }
    }

    /// As it goes over the wire.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

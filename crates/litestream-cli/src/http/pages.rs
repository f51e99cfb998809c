//! What the server answers: metrics, and three questions about health. No I/O.
//!
//! Nothing tells how the program was called or what is in its memory. Answers name at most [`NAMED_MAX`] databases.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::duration;
use crate::health;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::view::View;

const NAMED_MAX: usize = 100;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What answers are made from.
pub struct Pages {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz` and `/healthz`.
    pub view: Arc<dyn View>,
    /// How far behind a replica may be where the question does not say.
    pub max_lag: Duration,
    /// For `/livez`: whether those who work are at it.
    pub is_alive: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its status.
    pub status: u16,
    /// What its body is.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
}

impl Page {
    fn json(status: u16, value: &Value) -> Page {
        Page {
            status,
            content_type: JSON,
            body: format!("{value}\n"),
        }
    }

    fn plain(status: u16, text: &str) -> Page {
        Page {
            status,
            content_type: PLAIN,
            body: format!("{text}\n"),
        }
    }
}

impl Pages {
    /// Answers a question. May take a while with many databases.
    pub fn answer(&self, path: &str, query: Option<&str>) -> Page {
        match path {
            "/metrics" => self.metrics(),
            "/livez" if (self.is_alive)() => Page::plain(200, "ok"),
            "/livez" => Page::plain(503, "stuck"),
            "/readyz" => self.ready(),
            "/healthz" => self.health(query.unwrap_or_default()),
            _ => Page::plain(404, "404 page not found"),
        }
    }

    fn metrics(&self) -> Page {
        match self.metrics.text() {
            Ok(body) => Page {
                status: 200,
                content_type: CONTENT_TYPE,
                body,
            },
            Err(error) => Page::plain(500, &format!("metrics cannot be written: {error}")),
        }
    }

    /// Whether all databases were opened once, or are known to be missing.
    fn ready(&self) -> Page {
        let databases = self.view.databases();
        let awaited = databases.iter().filter(|d| health::is_awaited(d));
        let listed = awaited.map(|d| {
            let path = d.path.to_string_lossy();
            match d.error() {
                Some(error) => json!({ "path": path, "error": error }),
                None => json!({ "path": path }),
            }
        });
        let (listed, omitted) = first(listed);
        let (status, word) = if listed.is_empty() {
            (200, "ready")
        } else {
            (503, "not ready")
        };
        let body = json!({ "status": word, "waiting": listed, "omitted": omitted });
        Page::json(status, &body)
    }

    fn health(&self, query: &str) -> Page {
        let max_lag = match max_lag(query, self.max_lag) {
            Ok(max_lag) => max_lag,
            Err(error) => return Page::json(400, &json!({ "error": error })),
        };
        let databases = self.view.databases();
        let listed = databases.iter().filter_map(|d| {
            let found = health::problems(d, max_lag);
            let problems: Vec<_> = found.iter().map(ToString::to_string).collect();
            let path = d.path.to_string_lossy();
            (!problems.is_empty()).then(|| json!({ "path": path, "problems": problems }))
        });
        let (listed, omitted) = first(listed);
        let (status, word) = if listed.is_empty() {
            (200, "healthy")
        } else {
            (503, "unhealthy")
        };
        let body = json!({
            "status": word, "max_lag": duration::format(max_lag), "unhealthy": listed, "omitted": omitted,
        });
        Page::json(status, &body)
    }
}

/// The first of them, and how many there are beside.
fn first(mut all: impl Iterator<Item = Value>) -> (Vec<Value>, usize) {
    let named = all.by_ref().take(NAMED_MAX).collect();
    (named, all.count())
}

/// `max_lag=30s`. Other parameters are not known here and mean nothing.
fn max_lag(query: &str, default: Duration) -> Result<Duration, String> {
    let mut values = query.split('&').filter_map(|p| p.strip_prefix("max_lag="));
    let Some(text) = values.next() else {
        return Ok(default);
    };
    let nanos = duration::parse(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| {
        let text = crate::quote::go_quote(text);
        format!("max_lag {text} is not a duration like 30s or 5m")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::view::tests::{Shown, well};

    fn pages(shown: &Shown) -> Pages {
        let view: Arc<dyn View> = Arc::new(shown.clone());
        Pages {
            metrics: Arc::new(Metrics::new(view.clone()).unwrap()),
            view,
            max_lag: Duration::from_mins(5),
            is_alive: Arc::new(|| true),
        }
    }

    fn answer(shown: &Shown, path: &str, query: Option<&str>) -> (u16, Value) {
        let page = pages(shown).answer(path, query);
        assert_eq!(page.content_type, JSON);
        (page.status, serde_json::from_str(&page.body).unwrap())
    }

    #[test]
    fn ready_once_all_were_opened() {
        let shown = Shown::default();
        assert_eq!(answer(&shown, "/readyz", None).0, 200);
        let mut opening = well("/d/b.db");
        opening.was_opened = false;
        *shown.0.lock() = vec![well("/d/a.db"), opening];
        let (status, body) = answer(&shown, "/readyz", None);
        let expected =
            json!({ "status": "not ready", "waiting": [{ "path": "/d/b.db" }], "omitted": 0 });
        assert_eq!((status, body), (503, expected));
        shown.0.lock()[1].capture_error = Some("locked".into());
        let (_, body) = answer(&shown, "/readyz", None);
        assert_eq!(body["waiting"][0]["error"], "locked");
        shown.0.lock()[1].is_missing = true;
        assert_eq!(answer(&shown, "/readyz", None).0, 200);
    }

    #[test]
    fn healthy_as_long_as_nothing_is_wrong() {
        let shown = Shown::default();
        shown.0.lock().push(well("/d/a.db"));
        let (status, body) = answer(&shown, "/healthz", None);
        let expected =
            json!({ "status": "healthy", "max_lag": "5m0s", "unhealthy": [], "omitted": 0 });
        assert_eq!((status, body), (200, expected));
        shown.0.lock()[0].replicas[0].lag = Some(Duration::from_mins(1));
        assert_eq!(answer(&shown, "/healthz", None).0, 200);
        let (status, body) = answer(&shown, "/healthz", Some("x=y&max_lag=30s"));
        assert_eq!(status, 503);
        assert_eq!(body["unhealthy"][0]["path"], "/d/a.db");
        let problem = body["unhealthy"][0]["problems"][0].as_str().unwrap();
        assert!(
            problem.starts_with("replica file is 1m0s behind"),
            "{problem}"
        );
        for bad in ["max_lag=30", "max_lag=", "max_lag=-1s"] {
            let (status, body) = answer(&shown, "/healthz", Some(bad));
            assert_eq!(status, 400);
            assert!(
                body["error"]
                    .as_str()
                    .unwrap()
                    .contains("is not a duration")
            );
        }
    }

    #[test]
    fn answers_stay_small() {
        let shown = Shown::default();
        let mut broken = well("/d/a.db");
        broken.capture_error = Some("x".into());
        *shown.0.lock() = vec![broken; NAMED_MAX + 7];
        let (_, body) = answer(&shown, "/healthz", None);
        assert_eq!(body["unhealthy"].as_array().unwrap().len(), NAMED_MAX);
        assert_eq!(body["omitted"], 7);
    }

    #[test]
    fn alive_as_long_as_the_workers_are() {
        let alive = Arc::new(AtomicBool::new(true));
        let seen = alive.clone();
        let pages = Pages {
            is_alive: Arc::new(move || seen.load(Ordering::Relaxed)),
            ..pages(&Shown::default())
        };
        assert_eq!(pages.answer("/livez", None), Page::plain(200, "ok"));
        alive.store(false, Ordering::Relaxed);
        assert_eq!(pages.answer("/livez", None).status, 503);
    }

    #[test]
    fn nothing_else_is_answered() {
        let pages = pages(&Shown::default());
        for path in [
            "/",
            "/metrics/",
            "/debug/pprof/",
            "/debug/vars",
            "/debug/requests",
        ] {
            let page = pages.answer(path, None);
            assert_eq!(page, Page::plain(404, "404 page not found"), "{path}");
        }
    }
}

//! The tracing layer that turns events into lines.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use jiff::tz::TimeZone;
use litestream_replica::env::Clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::quote::log_value;
use crate::time::log_time;

/// One line per event: fixed fields, those of the spans around it, then its own.
pub struct TextLayer<W> {
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    write: W,
}

/// ` key=value` for every field of a span.
struct SpanFields(String);

/// Collects the message and the other fields of an event or span.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl<W: Fn(&[u8])> TextLayer<W> {
    pub fn new(clock: Arc<dyn Clock>, zone: TimeZone, write: W) -> TextLayer<W> {
        TextLayer { clock, zone, write }
    }
}

/// Libraries below have logs of their own that nobody asked for.
fn is_ours(target: &str) -> bool {
    target.starts_with("litestream") || target.starts_with("ltx")
}

impl<S, W> Layer<S> for TextLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.rest));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !is_ours(event.metadata().target()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = String::with_capacity(128 + fields.rest.len());
        let time = log_time(self.clock.now(), &self.zone);
        let _ = write!(
            line,
            "time={time} level={} msg={}",
            event.metadata().level(),
            log_value(&fields.message)
        );
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root)
        {
            if let Some(SpanFields(text)) = span.extensions().get() {
                line.push_str(text);
            }
        }
        line.push_str(&fields.rest);
        line.push('\n');
        (self.write)(line.as_bytes());
    }
}

impl Fields {
    fn add(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            text.clone_into(&mut self.message);
        } else {
            let _ = write!(
                self.rest,
                " {}={}",
                log_value(field.name()),
                log_value(text)
            );
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::{Monotonic, UnixMillis};
    use parking_lot::Mutex;
    use std::time::Duration;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct Noon;

    #[async_trait::async_trait]
    impl Clock for Noon {
        fn boot(&self) -> Option<u128> {
            None
        }
        fn now(&self) -> UnixMillis {
            UnixMillis(43_200_007)
        }
        fn monotonic(&self) -> Monotonic {
            Monotonic::default()
        }
        fn sleep(&self, _: Duration) {}
        async fn sleep_async(&self, _: Duration) {}
    }

    fn lines(work: impl FnOnce()) -> String {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let layer = TextLayer::new(Arc::new(Noon), TimeZone::UTC, move |line: &[u8]| {
            sink.lock().extend_from_slice(line);
        });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = seen.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_look_like_slog() {
        let text = lines(|| {
            tracing::info!(system = "store", db = "a b.db", txid.min = %7, "sync-interval" = %"1s", "snapshot complete");
            tracing::warn!(error = %std::io::Error::other("a=b"), n = 3, on = true, "odd");
            tracing::error!(target: "mio", "not ours");
        });
        assert_eq!(
            text,
            "time=1970-01-01T12:00:00.007Z level=INFO msg=\"snapshot complete\" system=store db=\"a b.db\" txid.min=7 \
             sync-interval=1s\n\
             time=1970-01-01T12:00:00.007Z level=WARN msg=odd error=\"a=b\" n=3 on=true\n"
        );
    }

    #[test]
    fn fields_of_spans_come_first() {
        let text = lines(|| {
            let _outer = tracing::info_span!("worker", system = "store", db = "a.db").entered();
            tracing::info!(level = 1, "compaction complete");
        });
        assert!(
            text.ends_with("level=INFO msg=\"compaction complete\" system=store db=a.db level=1\n"),
            "{text}"
        );
    }
}

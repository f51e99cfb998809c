//! The tracing layer that turns events into records and hands them on.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::record::{Attribute, Fields, put};

/// Who gets what was said, and says what is worth saying.
pub trait Sink: Send + Sync + 'static {
    /// What is below this is not even put together.
    fn level(&self) -> LevelFilter;
    /// A line: its message and all its attributes.
    fn line(&self, metadata: &Metadata<'static>, message: String, attributes: Vec<Attribute>);
}

/// Collects the fields of an event and of the spans around it.
pub struct RecordLayer<K>(pub K);

/// Those of a span.
struct SpanFields(Vec<Attribute>);

/// Libraries below have logs of their own that nobody asked for.
fn is_ours(target: &str) -> bool {
    target.starts_with("litestream") || target.starts_with("ltx")
}

impl<K: Sink> RecordLayer<K> {
    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        // Spans carry what lines below them say, whatever their own level.
        is_ours(metadata.target()) && (metadata.is_span() || *metadata.level() <= self.0.level())
    }
}

impl<S, K> Layer<S> for RecordLayer<K>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    K: Sink,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.is_wanted(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.is_wanted(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.level())
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.attributes));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut attributes = Vec::with_capacity(fields.attributes.len() + 4);
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root)
        {
            if let Some(SpanFields(outer)) = span.extensions().get() {
                outer.iter().cloned().for_each(|a| put(&mut attributes, a));
            }
        }
        fields
            .attributes
            .into_iter()
            .for_each(|a| put(&mut attributes, a));
        let message = fields.message.unwrap_or_default();
        self.0.line(event.metadata(), message, attributes);
    }
}

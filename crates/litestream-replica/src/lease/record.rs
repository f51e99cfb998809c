//! What the lease object says, in the form that Litestream's library reads and writes.

use serde::{Deserialize, Serialize};

use crate::env::UnixMillis;

/// `lock.json` below the replica's root.
pub const NAME: &str = "lock.json";

/// The content of a lease object. Litestream knows the first three and ignores the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// One more with each new holder.
    pub generation: u64,
    /// By the holder's clock; RFC 3339.
    #[serde(with = "rfc3339")]
    pub expires_at: jiff::Timestamp,
    /// `<host>:<pid>`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// How long it holds from when it was written, in milliseconds, so that nobody needs to believe the holder's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Another with each process, to know one's own writing when the answer to it was lost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
}

mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(at: &jiff::Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<jiff::Timestamp, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Record {
    /// A time as it stands in a record; what lies outside of what can be written is moved to its edge.
    pub fn time(at: UnixMillis) -> jiff::Timestamp {
        let edge = if at.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        jiff::Timestamp::from_millisecond(at.0).unwrap_or(edge)
    }

    /// As JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From JSON; says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }

    /// Who has it, for people.
    pub fn holder(&self) -> String {
        let until = self.expires_at;
        if self.owner.is_empty() {
            format!("lease already held until {until}")
        } else {
            format!("lease already held by {} until {until}", self.owner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_litestream_wrote_is_read_and_what_it_needs_is_written() {
        let theirs = br#"{"generation":3,"expires_at":"2026-11-30T12:00:00.5Z","owner":"h:7"}"#;
        let record = Record::decode(theirs).unwrap();
        assert_eq!((record.generation, record.owner.as_str()), (3, "h:7"));
        assert_eq!(record.ttl_ms, None);
        assert_eq!(
            record.holder(),
            "lease already held by h:7 until 2026-11-30T12:00:00.5Z"
        );
        assert_eq!(record.encode(), theirs);
        let anonymous = Record::decode(br#"{"generation":1,"expires_at":"2026-11-30T12:00:00Z"}"#);
        assert_eq!(
            anonymous.unwrap().holder(),
            "lease already held until 2026-11-30T12:00:00Z"
        );
        assert!(Record::decode(b"{}").is_err());
    }
}

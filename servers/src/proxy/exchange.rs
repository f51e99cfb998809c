//! What passed through the proxy.

use std::collections::BTreeMap;

/// What a request does, told from its method and target. The same for all the services that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Lists objects or a folder.
    List,
    /// Reads an object.
    Get,
    /// Asks for an object's metadata.
    Head,
    /// Writes an object or a part of one.
    Put,
    /// Begins or completes an upload in parts.
    Post,
    /// Deletes one object or many.
    Delete,
    /// Anything else: folders made, objects renamed.
    Other,
}

impl Class {
    /// The class of a request.
    pub fn of(method: &str, target: &str) -> Class {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let has = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        match method {
            // S3 and OSS, Azure, Google; on a bucket every other GET with these would be something rare.
            "GET"
                if has("list-type")
                    || has("uploads")
                    || query.contains("comp=list")
                    || (path.starts_with("/storage/v1/b/") && path.ends_with("/o")) =>
            {
                Class::List
            }
            "PROPFIND" => Class::List,
            "GET" => Class::Get,
            "HEAD" => Class::Head,
            "POST" if has("delete") => Class::Delete,
            // Google's uploads.
            "POST" if path.starts_with("/upload/") && !query.contains("uploadType=resumable") => {
                Class::Put
            }
            "PUT" if query.contains("comp=blocklist") => Class::Post,
            "PUT" => Class::Put,
            "POST" => Class::Post,
            "DELETE" => Class::Delete,
            _ => Class::Other,
        }
    }
}

/// One request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request's method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// What it does.
    pub class: Class,
    /// The status that the client was sent; none if it got no answer.
    pub status: Option<u16>,
    /// The request's bytes, head and body, as far as they came.
    pub bytes_up: u64,
    /// The answer's bytes as far as they were passed on.
    pub bytes_down: u64,
}

/// Sums of what passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests by method and class; none where the proxy only relays bytes.
    pub requests: BTreeMap<(String, Class), u64>,
    /// Connections that clients made.
    pub connections: u64,
    /// Bytes from clients.
    pub bytes_up: u64,
    /// Bytes to clients.
    pub bytes_down: u64,
    /// The most requests that were under way at the same time.
    pub most_at_once: u64,
}

impl Counts {
    pub(super) fn of(exchanges: &[Exchange]) -> BTreeMap<(String, Class), u64> {
        let mut requests = BTreeMap::new();
        for exchange in exchanges {
            *requests
                .entry((exchange.method.clone(), exchange.class))
                .or_default() += 1;
        }
        requests
    }

    /// All requests of a class.
    pub fn class(&self, class: Class) -> u64 {
        let found = self.requests.iter().filter(|((_, of), _)| *of == class);
        found.map(|(_, count)| count).sum()
    }

    /// All requests.
    pub fn all(&self) -> u64 {
        self.requests.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn requests_are_told_apart() {
        for (method, target, class) in [
            ("GET", "/testb/?list-type=2&prefix=a%2F0000%2F", Class::List),
            ("GET", "/acc/testb?comp=list&restype=container", Class::List),
            ("GET", "/storage/v1/b/testb/o?prefix=a", Class::List),
            ("PROPFIND", "/db1/ltx/0/", Class::List),
            ("GET", "/testb/a/0000/x.ltx", Class::Get),
            ("GET", "/storage/v1/b/testb/o/a?alt=media", Class::Get),
            ("HEAD", "/testb/a", Class::Head),
            ("POST", "/testb/?delete", Class::Delete),
            ("POST", "/testb/?delete=", Class::Delete),
            ("DELETE", "/testb/a", Class::Delete),
            ("POST", "/testb/a?uploads", Class::Post),
            ("PUT", "/testb/a?partNumber=1&uploadId=x", Class::Put),
            (
                "POST",
                "/upload/storage/v1/b/testb/o?uploadType=multipart",
                Class::Put,
            ),
            (
                "POST",
                "/upload/storage/v1/b/testb/o?uploadType=resumable",
                Class::Post,
            ),
            ("PUT", "/acc/testb/a?comp=blocklist", Class::Post),
            ("MKCOL", "/db1/", Class::Other),
        ] {
            assert_eq!(Class::of(method, target), class, "{method} {target}");
        }
    }
}

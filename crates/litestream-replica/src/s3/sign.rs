//! What is changed in requests before the SDK signs them, so that the signature covers it.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::connect::Sent;
use super::digest::Digests;
use crate::net::Payload;

/// What holds for every request of a replica.
#[derive(Debug)]
pub(super) struct Every {
    /// Asks Tigris for what was written last, wherever that was.
    pub(super) tigris_consistent: bool,
    /// Whether the signature covers the body.
    pub(super) sign_payload: bool,
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Every {
    fn name(&self) -> &'static str {
        "Every"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        // Each signed header is one more that something between may spoil.
        headers.remove("x-amz-user-agent");
        if self.tigris_consistent {
            headers.insert("x-tigris-consistent", "true");
        }
        if !self.sign_payload {
            cfg.interceptor_state()
                .store_put(PayloadSigningOverride::unsigned_payload());
        }
        Ok(())
    }
}

/// A request whose body the SDK does not hold: the connector sends it, and its digest is signed.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) payload: Payload,
    pub(super) digests: Digests,
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Body {
    fn name(&self) -> &'static str {
        "Body"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let len = self.payload.len().to_string();
        request.headers_mut().insert("content-length", len);
        request.add_extension(Sent(self.payload.clone()));
        if let Some(sha256) = &self.digests.sha256 {
            cfg.interceptor_state()
                .store_put(PayloadSigningOverride::Precomputed(sha256.clone()));
        }
        Ok(())
    }
}

/// As the header Content-MD5 wants it.
pub(super) fn content_md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

//! Where a bucket lies, where nobody says it.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::BucketLocationConstraint;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::errors;
use crate::{Error, Result};

/// Whom to ask, and what no answer means.
pub(super) const DEFAULT: &str = "us-east-1";
/// The oldest name of a region.
const EU: &str = "eu-west-1";

/// Asks by GetBucketLocation, as Litestream does. Who may not ask that is told all the same by any answer about the bucket.
pub(super) async fn look_up(client: &Client, bucket: &str) -> Result<String> {
    let asked = client.get_bucket_location().bucket(bucket).send().await;
    let error = match asked {
        Ok(answer) => {
            let place = answer
                .location_constraint()
                .map(BucketLocationConstraint::as_str);
            return Ok(match place.unwrap_or_default() {
                "" => DEFAULT,
                "EU" => EU,
                place => place,
            }
            .to_owned());
        }
        Err(error) => error,
    };
    if let Some(region) = in_headers(&error) {
        return Ok(region);
    }
    let failed = errors::failed_bucket("look up the region of", bucket, &error);
    if !failed.is_forbidden() {
        return Err(failed);
    }
    let head = client.head_bucket().bucket(bucket).send().await;
    let found = match &head {
        Ok(answer) => answer.bucket_region().map(str::to_owned),
        Err(error) => in_headers(error),
    };
    found.ok_or_else(|| unknown(failed))
}

fn in_headers<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let raw = error.raw_response()?;
    raw.headers().get("x-amz-bucket-region").map(str::to_owned)
}

fn unknown(error: Error) -> Error {
    error.with_hint("set region, or allow s3:GetBucketLocation")
}

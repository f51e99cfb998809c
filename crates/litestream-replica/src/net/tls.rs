//! Whom to trust, and as whom to come.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::env::Disk;
use crate::settings::Trust;
use crate::{Error, Result};

impl Trust {
    /// Reads the files and makes a configuration for clients. Where the system has no roots, built-in ones are used.
    pub(crate) fn config(&self, disk: &dyn Disk) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::invalid(format_args!("tls: {e}")))?;
        let builder = if self.skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
        } else {
            let roots = Arc::new(self.roots(disk)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|e| Error::invalid(format_args!("tls: {e}")))?;
            builder.with_webpki_verifier(verifier)
        };
        let Some((cert, key)) = &self.client_cert else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(disk, cert)?;
        let key_pem = read(disk, key)?;
        let parsed = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|e| bad_file("read client key", key, e))?;
        builder
            .with_client_auth_cert(chain, parsed)
            .map_err(|e| bad_file("use client certificate", cert, e))
    }

    fn roots(&self, disk: &dyn Disk) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for path in &self.ca_files {
            for cert in certificates(disk, path)? {
                roots
                    .add(cert)
                    .map_err(|e| bad_file("use CA certificate", path, e))?;
            }
        }
        Ok(roots)
    }
}

fn certificates(disk: &dyn Disk, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(disk, path)?;
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|e| bad_file("read certificates", path, e))?;
    if all.is_empty() {
        return Err(bad_file(
            "read certificates",
            path,
            "there is none in it; a PEM file is needed",
        ));
    }
    Ok(all)
}

fn bad_file(op: &'static str, path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(
        crate::ErrorKind::Invalid,
        op,
        path.display().to_string(),
        error,
    )
}

/// A small local file, such as a key.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>> {
    const LEN_MAX: u64 = 4 << 20;
    let fail = |e: std::io::Error| Error::io("read", path, &e);
    let file = disk.open(path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len;
    if len > LEN_MAX {
        return Err(bad_file(
            "read",
            path,
            "it is too large for what it should hold",
        ));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(fail)?;
    Ok(bytes)
}

/// `skip-verify`: whoever answers is believed, but must have the key of the certificate that it shows.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

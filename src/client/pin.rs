//! Trust in the certificates of one file, and in nothing else.
//!
//! A node program such as lnd makes its own certificate and marks it as an
//! authority, which the usual check refuses in a server's place. So a server may
//! show a certificate of the file itself, byte for byte, under whatever name it is
//! reached; what a certificate of the file has signed is checked as usual.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Certificates in one file at most; a chain has three or four.
const MAX_CERTIFICATES: usize = 16;

#[derive(Debug)]
struct Pinned {
    shown: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
}

/// Returns TLS settings that trust the certificates of `pem` only, or says what is wrong with them.
pub(super) fn pinned_config(pem: &str) -> Result<ClientConfig, String> {
    let shown: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CERTIFICATES)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in &shown {
        let added = roots.add(certificate.clone());
        added.map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(ring::default_provider());
    let signed = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(versions
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { shown, signed }))
        .with_no_client_auth())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Whoever shows it still has to sign the handshake with its key.
        if self.shown.iter().any(|pinned| pinned == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.signed
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

//! Whether a peer's certificate is believed: signed by an authority, not revoked, and for a name that is asked for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use transom_config::Admitted;

use super::names::NameRules;
use super::provider::provider;

/// Whom a peer's certificate must come from, and what it must not be.
pub(super) struct Trust {
    pub(super) roots: RootCertStore,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// What decides over certificates of clients.
pub(super) fn of_clients(
    trust: Trust,
    admitted: &Admitted,
    optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(trust.roots), provider());
    if !trust.revoked.is_empty() {
        // An authority without a list, or with one that is out of date, vouches for nobody.
        builder = builder
            .with_crls(trust.revoked)
            .enforce_revocation_expiration();
    }
    if optional {
        builder = builder.allow_unauthenticated();
    }
    let signed = builder.build().map_err(|error| error.to_string())?;
    Ok(match NameRules::new(&admitted.names) {
        Some(names) => Arc::new(NamedClients { signed, names }),
        None => signed,
    })
}

/// What decides over certificates of hosts. With rules of names these stand in place of the name that the host is
/// connected by.
pub(super) fn of_hosts(
    trust: Trust,
    names: Option<NameRules>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(trust.roots), provider());
    if !trust.revoked.is_empty() {
        builder = builder
            .with_crls(trust.revoked)
            .enforce_revocation_expiration();
    }
    let signed = builder.build().map_err(|error| error.to_string())?;
    Ok(match names {
        Some(names) => Arc::new(NamedHosts { signed, names }),
        None => signed,
    })
}

/// The part of both traits of rustls about the peer's key, which is left to the verifier in `signed`.
macro_rules! signatures_by_signed {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signed
                .verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signed
                .verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.signed.supported_verify_schemes()
        }
    };
}

/// Clients whose certificates are signed, and for a name that is asked for.
#[derive(Debug)]
struct NamedClients {
    signed: Arc<dyn ClientCertVerifier>,
    names: NameRules,
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.signed.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.signed.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .signed
            .verify_client_cert(certificate, intermediates, now)?;
        if !self.names.admit(certificate) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }

    signatures_by_signed!();
}

/// Hosts whose certificates are signed, and for a name that is asked for.
#[derive(Debug)]
struct NamedHosts {
    signed: Arc<WebPkiServerVerifier>,
    names: NameRules,
}

impl ServerCertVerifier for NamedHosts {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.signed
                .verify_server_cert(certificate, intermediates, name, ocsp_response, now);
        match verified {
            Ok(_) => {}
            // Signed, not revoked, and only not for the name that it was connected by: that is looked at last (a test of
            // this crate holds rustls to it).
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        if !self.names.admit(certificate) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_signed!();
}

/// Believes any certificate. The host must still have its key.
#[derive(Debug)]
pub(super) struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

//! `files`: certificates that others write to files. They are used when they change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use transom_api::{
    Certificate, CertificateProvider, CertificateProviders, Certificates, Node, ParseError, Parsed,
    Prepare, PrepareContext, PrepareError, Provide, Schema,
};
use transom_config::{CertificateFiles, Located};

use crate::tls::certificate::{Certificate as Checked, Parts};
use crate::tls::files::{Stamp, TlsFileError};
use crate::tls::server::paths;

/// The factory of `files`.
pub(super) struct Factory;

/// Certificates in files.
pub(in crate::tls) struct Files {
    files: Vec<CertificateFiles>,
    seen: Mutex<Option<Seen>>,
}

/// What the files were when they were last read.
struct Seen {
    stamps: Vec<Stamp>,
    answer: Result<Arc<Certificates>, TlsFileError>,
}

impl Files {
    pub(in crate::tls) fn new(files: Vec<CertificateFiles>) -> Arc<Self> {
        Arc::new(Self {
            files,
            seen: Mutex::new(None),
        })
    }

    /// Reads the files, unless they are those that were read last.
    fn look(&self) -> Result<Arc<Certificates>, TlsFileError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are read: what changes meanwhile is seen at the next look.
        let files = self.files.iter().flat_map(paths);
        let stamps: Vec<Stamp> = files.map(|file| Stamp::of(&file)).collect();
        if let Some(seen) = seen.as_ref().filter(|seen| seen.stamps == stamps) {
            return seen.answer.clone();
        }
        let answer = self.read();
        *seen = Some(Seen {
            stamps,
            answer: answer.clone(),
        });
        answer
    }

    fn read(&self) -> Result<Arc<Certificates>, TlsFileError> {
        let now = SystemTime::now();
        let certificates = self.files.iter().map(|files| {
            let parts = Checked::read(files)?;
            let plain = plain(&parts);
            // Here the names of the files are known.
            Checked::check_files(parts, files, now)?;
            Ok::<_, TlsFileError>(plain)
        });
        Ok(Arc::new(Certificates {
            certificates: certificates.collect::<Result<_, _>>()?,
            authorities: None,
            refresh_after: Some(Duration::ZERO),
        }))
    }
}

impl CertificateProvider for Files {
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        Box::pin(async move {
            let looked = tokio::task::spawn_blocking(move || self.look()).await;
            match looked {
                Ok(answer) => answer.map_err(PrepareError::from),
                Err(_) => Err(PrepareError::new("the files could not be read")),
            }
        })
    }
}

/// Plain bytes, as from any provider.
fn plain((chain, key, ocsp_response): &Parts) -> Certificate {
    Certificate {
        chain: chain.iter().flat_map(|it| it.iter().copied()).collect(),
        key: key.secret_der().to_vec(),
        ocsp_response: ocsp_response.clone(),
    }
}

impl transom_api::Factory<CertificateProviders> for Factory {
    fn schema(&self) -> Schema {
        let file = |text| Schema::string().describe(text);
        let certificate = Schema::object()
            .required(
                "certificate",
                file("A PEM file with the certificate, followed by those that lead from it to a root."),
            )
            .required(
                "private_key",
                file("A PEM file with the certificate's private key, not encrypted."),
            )
            .optional(
                "ocsp_response",
                file("A file with an OCSP response in DER, which is stapled."),
            );
        Schema::object()
            .required(
                "certificates",
                Schema::list(certificate).describe("Certificates and their keys in files."),
            )
            .describe("Certificates in files, as in `certificates` of `tls`.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<CertificateProviders>>, ParseError> {
        let mut fields = config.as_fields()?;
        let list = fields.required("certificates")?;
        let certificates = list.as_list()?.iter().map(certificate_files);
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>()?;
        fields.finish()?;
        if certificates.is_empty() {
            return Err(list
                .error("at least one certificate is needed")
                .with_help("write one: {certificate: FILE, private_key: FILE}"));
        }
        Ok(Arc::new(ParsedFiles(certificates)))
    }
}

fn certificate_files(node: &Node) -> Result<CertificateFiles, ParseError> {
    let mut fields = node.as_fields()?;
    let read = CertificateFiles {
        certificate: path(fields.required("certificate")?)?,
        private_key: path(fields.required("private_key")?)?,
        ocsp_response: fields.optional("ocsp_response").map(path).transpose()?,
    };
    fields.finish()?;
    Ok(read)
}

fn path(node: &Node) -> Result<Located<PathBuf>, ParseError> {
    let path = node.as_str()?;
    if path.is_empty() || path.contains('\0') {
        return Err(node.error("this is no path of a file"));
    }
    Ok(Located::at(PathBuf::from(path), node.span))
}

struct ParsedFiles(Vec<CertificateFiles>);

impl Parsed<CertificateProviders> for ParsedFiles {
    fn prepare(&self, context: PrepareContext) -> Prepare<CertificateProviders> {
        let path = |file: &Located<PathBuf>| Located::at(context.path(&file.value), file.span);
        let files = self.0.iter().map(|files| CertificateFiles {
            certificate: path(&files.certificate),
            private_key: path(&files.private_key),
            ocsp_response: files.ocsp_response.as_ref().map(path),
        });
        let files: Arc<dyn CertificateProvider> = Files::new(files.collect());
        Box::pin(std::future::ready(Ok(files)))
    }
}

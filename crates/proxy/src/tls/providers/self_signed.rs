//! `self_signed`: certificates of an authority of its own, for development, tests and networks in which its authority is
//! made known.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use transom_api::{
    Certificate, CertificateProvider, CertificateProviders, Certificates, Node, ParseError, Parsed,
    Prepare, PrepareContext, PrepareError, Provide, Schema, Shape, Span,
};

use crate::tls::certificate::parse;

/// The factory of `self_signed`.
pub(super) struct Factory;

/// What it was told to be.
#[derive(Clone, Debug)]
struct Options {
    names: Vec<String>,
    days: u32,
    authority: Option<PathBuf>,
    /// Where the folder of the authority is named.
    span: Option<Span>,
}

/// An authority, and what it has signed.
struct SelfSigned {
    options: Options,
    authority: Authority,
    current: Mutex<Option<Current>>,
}

struct Current {
    given: Arc<Certificates>,
    renewal: SystemTime,
}

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate: part of each chain, so that who is shown one can see whom to trust.
    der: CertificateDer<'static>,
}

/// An authority as it lies in files.
struct Pem {
    certificate: String,
    key: String,
}

const DAYS: u32 = 90;
/// Common Name of authorities. A name of its own for each keeps them apart where several are trusted.
const AUTHORITY: &str = "Transom self-signed";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of clients are not all right.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// An authority is made known by hand, so it is not renewed within the life of a machine.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

impl SelfSigned {
    fn certificates_now(&self, now: SystemTime) -> Result<Arc<Certificates>, PrepareError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_ref().filter(|it| now < it.renewal) {
            return Ok(Arc::clone(&current.given));
        }
        let (certificate, renewal) = self.sign(&self.options.names, now)?;
        let given = Arc::new(Certificates {
            certificates: vec![certificate],
            authorities: None,
            refresh_after: Some(renewal.duration_since(now).unwrap_or(Duration::ZERO)),
        });
        *current = Some(Current {
            given: Arc::clone(&given),
            renewal,
        });
        Ok(given)
    }

    /// A certificate for these names, and when it is to be renewed: with a third of its life left.
    fn sign(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<(Certificate, SystemTime), PrepareError> {
        let failed = |error: rcgen::Error| {
            PrepareError::new(format!("no certificate could be made: {error}"))
        };
        let life = DAY * self.options.days;
        let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
        if let Some(first) = names
            .first()
            .filter(|name| name.len() <= LONGEST_COMMON_NAME)
        {
            params
                .distinguished_name
                .push(DnType::CommonName, first.as_str());
        }
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + life).into();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(failed)?;
        let signed = params
            .signed_by(&key, &self.authority.issuer)
            .map_err(failed)?;
        let chain = [signed.der().as_ref(), self.authority.der.as_ref()].concat();
        let certificate = Certificate {
            chain,
            key: key.serialize_der(),
            ocsp_response: None,
        };
        Ok((certificate, now + life / 3 * 2))
    }
}

/// RFC 5280, appendix A.1: `ub-common-name`.
const LONGEST_COMMON_NAME: usize = 64;

impl CertificateProvider for SelfSigned {
    // Signing with P-256 takes less than a tenth of a millisecond: no thread is needed for it.

    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        Box::pin(async move { self.certificates_now(SystemTime::now()) })
    }

    fn answers_on_demand(&self) -> bool {
        true
    }

    fn certificate_for(self: Arc<Self>, name: String) -> Provide<Option<Certificate>> {
        Box::pin(async move {
            let (certificate, _) = self.sign(&[name], SystemTime::now())?;
            Ok(Some(certificate))
        })
    }
}

impl Authority {
    /// An authority that lives as long as the process.
    fn new(now: SystemTime) -> Result<(Self, Pem), rcgen::Error> {
        let key = KeyPair::generate()?;
        let text: String = crate::tls::provider::sha256(key.public_key_raw())
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut params = Self::params(&format!("{AUTHORITY} {text}"));
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        let certificate = params.self_signed(&key)?;
        let pem = Pem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        };
        let der = certificate.der().clone();
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, der }, pem))
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// The authority that lies in a folder; made if there is none.
    fn in_folder(folder: &Path) -> Result<Self, String> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        match fs::read(&certificate) {
            Ok(pem) => return Self::read(&pem, &certificate, &key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!(
                    "the file {} cannot be read: {error}",
                    certificate.display()
                ));
            }
        }
        if key.exists() {
            return Err(format!(
                "the file {} has a key, but {} with its certificate is missing",
                key.display(),
                certificate.display()
            ));
        }
        let made = Self::new(SystemTime::now());
        let (authority, pem) = made.map_err(|error| format!("no key could be made: {error}"))?;
        let unwritten = |file: &Path| {
            let file = file.display().to_string();
            move |error: io::Error| format!("the file {file} cannot be written: {error}")
        };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|error| format!("the folder {} cannot be made: {error}", folder.display()))?;
        // The key first: a certificate without its key would be refused for ever.
        write(&key, pem.key.as_bytes(), 0o600).map_err(unwritten(&key))?;
        write(&certificate, pem.certificate.as_bytes(), 0o644).map_err(unwritten(&certificate))?;
        tracing::info!(
            certificate = %certificate.display(),
            "an authority for self-signed certificates was made: clients that trust this file trust them"
        );
        Ok(authority)
    }

    fn read(pem: &[u8], certificate: &Path, key: &Path) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "the file {} {what}: it must be an authority that `self_signed` has made",
                certificate.display()
            )
        };
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| wrong("has no certificate"))?;
        let parsed = parse(&der).map_err(|error| wrong(&format!("cannot be used ({error})")))?;
        let subject = parsed.tbs_certificate().subject().to_string();
        let name = subject
            .strip_prefix("CN=")
            .filter(|name| name.starts_with(AUTHORITY));
        let name = name.ok_or_else(|| wrong(&format!("is of `{subject}`")))?;
        let until = parsed.tbs_certificate().validity().not_after;
        if SystemTime::now() > until.to_system_time() {
            return Err(wrong(
                "has expired: remove it and its key; another will be made, to be trusted anew",
            ));
        }
        let secret = fs::read_to_string(key)
            .map_err(|error| format!("the file {} cannot be read: {error}", key.display()))?;
        let secret = KeyPair::from_pem(&secret)
            .map_err(|error| format!("the file {} has no key: {error}", key.display()))?;
        let public = parsed.tbs_certificate().subject_public_key_info();
        if public.subject_public_key.raw_bytes() != secret.public_key_raw() {
            return Err(format!(
                "the key in {} does not belong to the certificate in {}",
                key.display(),
                certificate.display()
            ));
        }
        let issuer = Issuer::new(Self::params(name), secret);
        Ok(Self { issuer, der })
    }
}

/// Writes a file in one step for those who look at it, and nothing over one that is there.
fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)?;
    let written = file
        .write_all(contents)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&fresh, path));
    let removed = fs::remove_file(&fresh);
    written.and(removed)
}

impl transom_api::Factory<CertificateProviders> for Factory {
    fn schema(&self) -> Schema {
        let names = Schema::list(Schema::string());
        Schema::object()
            .optional(
                "names",
                names.describe(
                    "The names that the certificate is for: names of DNS, wildcards, IP addresses. localhost, 127.0.0.1 \
                     and ::1 when it is left out.",
                ),
            )
            .optional(
                "days",
                Schema::new(Shape::Integer(1, 3650))
                    .describe("For how long a certificate is good. It is renewed when a third of that is left.")
                    .or(i64::from(DAYS)),
            )
            .optional(
                "authority",
                Schema::string().describe(
                    "A folder with the authority that signs, `ca.pem` and `ca.key`; made if there is none. An authority \
                     that ends with the process when it is left out.",
                ),
            )
            .describe("Certificates of an authority of its own.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<CertificateProviders>>, ParseError> {
        let mut options = Options {
            names: ["localhost", "127.0.0.1", "::1"]
                .map(str::to_owned)
                .to_vec(),
            days: DAYS,
            authority: None,
            span: None,
        };
        if config.is_null() {
            return Ok(Arc::new(options));
        }
        let mut fields = config.as_fields()?;
        if let Some(names) = fields.optional("names") {
            let list = names.as_list()?.iter().map(name);
            options.names = list.collect::<Result<_, _>>()?;
            if options.names.is_empty() {
                return Err(names
                    .error("at least one name is needed")
                    .with_help("leave `names` out for localhost, 127.0.0.1 and ::1"));
            }
        }
        if let Some(days) = fields.optional("days") {
            options.days = u32::try_from(days.as_integer_in(1..=3650)?).unwrap_or(DAYS);
        }
        if let Some(folder) = fields.optional("authority") {
            let path = folder.as_str()?;
            if path.is_empty() || path.contains('\0') {
                return Err(folder.error("this is no path of a folder"));
            }
            options.authority = Some(PathBuf::from(path));
            options.span = folder.span;
        }
        fields.finish()?;
        Ok(Arc::new(options))
    }
}

/// A name of DNS, perhaps with a wildcard in front, or an IP address.
fn name(node: &Node) -> Result<String, ParseError> {
    let name = node.as_str()?;
    if name.parse::<IpAddr>().is_ok() {
        return Ok(name.to_owned());
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    match rustls_pki_types::DnsName::try_from(host) {
        Ok(_) if !host.ends_with('.') => Ok(name.to_ascii_lowercase()),
        _ => Err(node
            .error(format!("{name:?} is no name that a certificate can be for"))
            .with_help("write a name of DNS, `*.example.org`, or an IP address")),
    }
}

impl Parsed<CertificateProviders> for Options {
    fn prepare(&self, context: PrepareContext) -> Prepare<CertificateProviders> {
        let mut options = self.clone();
        options.authority = options.authority.map(|folder| context.path(folder));
        Box::pin(async move {
            let made = tokio::task::spawn_blocking(move || SelfSigned::new(options)).await;
            match made {
                Ok(Ok(made)) => {
                    let made: Arc<dyn CertificateProvider> = made;
                    Ok(made)
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(PrepareError::new("the authority could not be read")),
            }
        })
    }
}

impl SelfSigned {
    fn new(options: Options) -> Result<Arc<Self>, PrepareError> {
        let authority = match &options.authority {
            Some(folder) => Authority::in_folder(folder).map_err(|message| {
                PrepareError::new(message).at(options.span).with_help(
                    "name a folder that this process may write to, for the authority alone",
                )
            })?,
            None => {
                let made = Authority::new(SystemTime::now());
                let (authority, _) = made
                    .map_err(|error| PrepareError::new(format!("no key could be made: {error}")))?;
                authority
            }
        };
        Ok(Arc::new(Self {
            options,
            authority,
            current: Mutex::new(None),
        }))
    }
}

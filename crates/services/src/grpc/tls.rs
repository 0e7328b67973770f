//! TLS to a server.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use transom_api::node::Span;
use transom_api::{Node, ParseError, PrepareContext, PrepareError, Schema};

/// The key `tls` of a server.
#[derive(Clone, Debug)]
pub(super) struct TlsConfig {
    ca: Option<File>,
    identity: Option<(File, File)>,
    pub(super) server_name: Option<String>,
    span: Option<Span>,
}

#[derive(Clone, Debug)]
struct File {
    path: String,
    span: Option<Span>,
}

/// What it became.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl TlsConfig {
    pub(super) fn schema() -> Schema {
        Schema::object()
            .optional(
                "ca",
                Schema::string().describe(
                    "A file of certificates (PEM): who may have signed the server's. Default: those that the machine trusts.",
                ),
            )
            .optional(
                "server_name",
                Schema::string().describe(
                    "The name that is asked for and that the server's certificate must have. Default: localhost.",
                ),
            )
            .optional(
                "certificate",
                Schema::string().describe("A file with the certificate that is shown to the server (PEM)."),
            )
            .optional("key", Schema::string().describe("The file with its key (PEM)."))
            .describe("TLS with the server; without it there is none.")
    }

    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let ca = fields.optional("ca").map(File::parse).transpose()?;
        let server_name = fields.optional("server_name");
        let certificate = fields.optional("certificate");
        let key = fields.optional("key");
        fields.finish()?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((File::parse(certificate)?, File::parse(key)?)),
            (None, None) => None,
            (Some(lone), None) | (None, Some(lone)) => {
                return Err(lone
                    .error("`certificate` and `key` belong together")
                    .with_help("give both, or neither"));
            }
        };
        if let Some(name) = server_name
            && ServerName::try_from(name.as_str()?).is_err()
        {
            return Err(name
                .error("this is no server name")
                .with_help("write a DNS name or an IP address"));
        }
        Ok(Self {
            ca,
            identity,
            server_name: server_name
                .map(|name| name.as_str().map(str::to_owned))
                .transpose()?,
            span: node.span,
        })
    }

    pub(super) fn load(&self, context: &PrepareContext) -> Result<Tls, PrepareError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(file) => {
                for certificate in file.certificates(context)? {
                    roots.add(certificate).map_err(|error| {
                        file.error(&format!("holds a certificate that cannot be used: {error}"))
                    })?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(
                        PrepareError::new("this machine trusts no certificate authority")
                            .at(self.span)
                            .with_help("name a file of certificates with `ca`"),
                    );
                }
            }
        }
        let fault = |error: rustls::Error| {
            PrepareError::new(format!("TLS cannot be set up: {error}")).at(self.span)
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(fault)?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some((certificate, key)) => {
                let chain = certificate.certificates(context)?;
                builder
                    .with_client_auth_cert(chain, key.key(context)?)
                    .map_err(fault)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = self
            .server_name
            .clone()
            .unwrap_or_else(|| "localhost".to_owned());
        let server_name = ServerName::try_from(name)
            .map_err(|_| PrepareError::new("`server_name` is no server name").at(self.span))?;
        Ok(Tls {
            config: Arc::new(config),
            server_name,
        })
    }
}

impl File {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        Ok(Self {
            path: node.as_str()?.to_owned(),
            span: node.span,
        })
    }

    fn certificates(
        &self,
        context: &PrepareContext,
    ) -> Result<Vec<CertificateDer<'static>>, PrepareError> {
        let bytes = self.read(&context.path(&self.path))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.error("holds no certificate (PEM)")),
            Err(error) => Err(self.error(&format!("holds no certificate (PEM): {error}"))),
        }
    }

    fn key(&self, context: &PrepareContext) -> Result<PrivateKeyDer<'static>, PrepareError> {
        let bytes = self.read(&context.path(&self.path))?;
        PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|error| self.error(&format!("holds no private key (PEM): {error}")))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, PrepareError> {
        std::fs::read(path).map_err(|error| self.error(&format!("cannot be read: {error}")))
    }

    fn error(&self, what: &str) -> PrepareError {
        PrepareError::new(format!("`{}` {what}", self.path)).at(self.span)
    }
}

//! A plugin that gives the certificate in the files of its configuration, by default those in `./certs`.

use std::process::ExitCode;
use std::time::Duration;

use transom_sdk::api::{Certificate, Certificates, Node, ParseError, PrepareError};
use transom_sdk::{CertificateSource, Plugin};

fn main() -> ExitCode {
    Plugin::new("cert_loader", env!("CARGO_PKG_VERSION"))
        .certificates::<Files>()
        .serve()
}

struct Files {
    chain: String,
    key: String,
    ca: Option<String>,
}

impl CertificateSource for Files {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let mut file = |name| fields.optional(name).map(Node::as_str).transpose();
        let files = Self {
            chain: file("chain")?.unwrap_or("./certs/cert.pem").to_owned(),
            key: file("key")?.unwrap_or("./certs/key.pem").to_owned(),
            ca: file("ca")?.map(str::to_owned),
        };
        fields.finish()?;
        Ok(files)
    }

    /// Reads the files again each time, so that a new certificate is used within a minute.
    fn certificates(&self) -> Result<Certificates, PrepareError> {
        Ok(Certificates {
            certificates: vec![Certificate {
                chain: read(&self.chain)?,
                key: read(&self.key)?,
                ocsp_response: None,
            }],
            authorities: self.ca.as_deref().map(read).transpose()?,
            refresh_after: Some(Duration::from_secs(60)),
        })
    }
}

fn read(file: &str) -> Result<Vec<u8>, PrepareError> {
    std::fs::read(file).map_err(|error| PrepareError::new(format!("cannot read {file}: {error}")))
}

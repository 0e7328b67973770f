//! The certificate providers that are built in.

mod files;
mod self_signed;

use std::sync::Arc;

use transom_api::{CertificateProviders, DuplicateExtension, Registry};

pub(super) use self::files::Files;

/// Adds `files` and `self_signed`.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<CertificateProviders>("files", Arc::new(files::Factory))?;
    registry.register::<CertificateProviders>("self_signed", Arc::new(self_signed::Factory))
}

//! A library by itself, outside of a configuration: for whoever builds, checks or registers one.

use std::path::Path;
use std::sync::Arc;

use transom_api::{Factory, StreamFilters};

use crate::configs::Maker;
use crate::error::LoadError;
use crate::files::{Trust, Verified};
use crate::load::{Cell, Loaded};
use crate::probe::Prober;
use crate::stream_filter::StreamFilterTable;

impl Loaded {
    /// Loads the library at `path`, after `prober` has shown that it can be loaded. It stays loaded.
    pub fn open(path: &Path, prober: &Prober) -> Result<Arc<Self>, LoadError> {
        Self::load(&Verified::read(path, &Trust::default())?, prober)
    }

    /// The factory of its stream filter of this name; of the only one, where the name is empty. Whether there is one is seen when a
    /// configuration of it is prepared.
    #[must_use]
    pub fn stream_filter_factory(self: &Arc<Self>, name: &str) -> Arc<dyn Factory<StreamFilters>> {
        let cell = Cell::new(Arc::clone(self).into());
        Arc::new(Maker::<StreamFilterTable>::new(&cell, name))
    }
}

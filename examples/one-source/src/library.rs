//! The filter in a shared library.

transom_sdk::export_plugin! {
    gate: one_source::Gate,
}

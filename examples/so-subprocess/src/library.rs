//! The filter in a shared library.

transom_sdk::export_plugin! {
    ask: so_subprocess::Ask,
}

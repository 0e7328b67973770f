//! Filters that prove the extension interface; they see `transom-api` and nothing else.

//! Sandboxes: each key with a plugin that tries what it forbids.

//! Bad plugins: what they do harms nobody but themselves.

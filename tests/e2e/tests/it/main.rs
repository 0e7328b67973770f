//! The real data plane between raw clients and scripted upstreams.

mod pauses;

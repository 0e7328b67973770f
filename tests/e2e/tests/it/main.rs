//! The real data plane between raw clients and scripted upstreams.

mod bodies;
mod callouts;
mod paths;
mod pauses;
mod routes;

//! The real data plane between raw clients and scripted upstreams.

mod bodies;
mod callouts;
mod faults;
mod network;
mod notes;
mod pauses;
mod routes;
mod trace;

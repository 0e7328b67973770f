//! The real data plane between raw clients and scripted upstreams.

mod bodies;
mod bounds;
mod callouts;
mod clusters;
mod extensions;
mod faults;
mod health;
mod http;
mod limits;
mod network;
mod notes;
mod parts;
mod paths;
mod pauses;
mod reload;
mod retries;
mod route_filters;
mod routes;
mod tls;
mod trace;

//! The real data plane between raw clients and scripted upstreams.

mod bodies;
mod bounds;
mod callouts;
mod certificates;
mod client_names;
mod clusters;
mod extensions;
mod faults;
mod half_close;
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
mod tcp_proxy;
mod terminals;
mod tls;
mod trace;
mod tunnels;

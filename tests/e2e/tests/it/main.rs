//! The real data plane between raw clients and scripted upstreams.

mod access_logs;
mod bodies;
mod callouts;
mod certificates;
mod chains;
mod client_names;
mod expect;
mod extensions;
mod faults;
mod half_close;
mod http;
mod limits;
mod network;
mod notes;
mod parts;
mod paths;
mod pauses;
mod reload;
mod route_filters;
mod routes;
mod tcp_proxy;
mod terminals;
mod tls;
mod trace;
mod tunnels;
mod udp_proxy;

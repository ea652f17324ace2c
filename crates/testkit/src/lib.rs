//! Development only: scripted upstreams, raw clients, a gateway on port 0.
#![forbid(unsafe_code)]

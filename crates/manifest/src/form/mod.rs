//! Values that are written as text: durations, moments, addresses, bytes, names.
mod bytes;
mod duration;
mod moment;
mod name;

pub(crate) use bytes::base64;
pub(crate) use duration::duration;
pub(crate) use moment::unix_seconds;
pub(crate) use name::{
    NameFault, header_name, host, label_key, label_value, name as dns_name, port_name, subdomain,
};

use ipnet::IpNet;
use std::net::IpAddr;

/// An address, which stands for itself alone, or a range (VS-T-13, LIS-5).
pub(crate) fn cidr(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => text.parse().ok(),
    }
}

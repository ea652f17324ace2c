//! Protocol code without I/O: sniffing, HTTP/1 heads, framing and chunks, TLS ClientHello.
#![forbid(unsafe_code)]

//! Kubernetes and Istio YAML to the model, with findings that name file, line and column.
#![forbid(unsafe_code)]

//! The numbers of the findings raised here.
use pointsman_model::Code;

/// The host of a VirtualService is taken as it is written, and a Service has the longer name.
pub(super) const HOST_NOT_COMPLETED: Code = Code(104);
/// A DestinationRule for a host nobody has.
pub(super) const RULE_FOR_NOBODY: Code = Code(105);
/// The labels of a subset select none of the endpoints.
pub(super) const EMPTY_SUBSET: Code = Code(106);
/// The selector of a Service selects no Pod.
pub(super) const SELECTS_NOTHING: Code = Code(107);
/// A Service has no endpoints.
pub(super) const NO_ENDPOINTS: Code = Code(108);
/// A VirtualService names a Gateway that is not there.
pub(super) const UNKNOWN_GATEWAY: Code = Code(110);
/// A DestinationRule has settings for a port its host does not have.
pub(super) const UNKNOWN_POLICY_PORT: Code = Code(111);
/// Nobody delegates to a VirtualService without hosts.
pub(super) const UNUSED_DELEGATE: Code = Code(112);
/// A host of a VirtualService that its Gateway has no server for.
pub(super) const HOST_NOT_IN_GATEWAY: Code = Code(113);
/// A Sidecar lists a host nobody has.
pub(super) const LISTS_NOBODY: Code = Code(117);
/// A Sidecar for the clients of an older one.
pub(super) const SIDECAR_IGNORED: Code = Code(122);
/// Settings of a mesh beside those in force.
pub(super) const MESH_IGNORED: Code = Code(123);
/// A part of a DestinationRule is ignored, because an older one says the same.
pub(super) const POLICY_IGNORED: Code = Code(120);
/// A DestinationRule hides another one.
pub(super) const POLICY_HIDDEN: Code = Code(121);
/// Rules for traffic that none of the hosts has on any port.
pub(super) const NO_PORT_FOR_RULES: Code = Code(210);
/// The host of a VirtualService is no service: where its rules are asked at all.
pub(super) const HOST_IS_NO_SERVICE: Code = Code(211);
/// A match that an earlier one covers.
pub(super) const COVERED_MATCH: Code = Code(212);
/// Weights that say something else than percentages.
pub(super) const WEIGHTS: Code = Code(213);
/// Retries that the timeouts leave no room for.
pub(super) const RETRIES_CUT_OFF: Code = Code(214);
/// No request has a path that a condition on `uri` asks for.
pub(super) const PATH_OF_NO_REQUEST: Code = Code(215);
/// The port of a headless Service is not the one its endpoints listen on.
pub(super) const HEADLESS_PORT: Code = Code(340);
/// The name of a port looks like a protocol, and is none.
pub(super) const PORT_NAME: Code = Code(341);
/// HTTP is declared on port 443.
pub(super) const HTTP_ON_443: Code = Code(342);
/// A policy encrypts what is encrypted already.
pub(super) const TLS_TWICE: Code = Code(343);
/// An alias that leads nowhere.
pub(super) const ALIAS: Code = Code(344);
/// Two documents are a service of the same host.
pub(super) const SAME_HOST: Code = Code(345);

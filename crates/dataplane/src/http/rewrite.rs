//! What a rule changes in a message, in the codec's terms. What the changes are is said in
//! `pointsman_route::action`, which `explain` runs too.
use pointsman_model::action::FieldOps;
use pointsman_route::action;
pub(crate) use pointsman_route::action::Extra;
use pointsman_wire::http1::FieldSet;

/// The received fields to leave out and the ones to append.
pub(crate) fn operations<'a>(
    levels: impl Iterator<Item = &'a FieldOps> + Clone,
    names: impl Iterator<Item = &'a str> + Clone,
) -> (FieldSet, Extra<'a>) {
    let mut drop = FieldSet::default();
    let extra = action::operations(levels, names, |index| drop.insert(index));
    (drop, extra)
}

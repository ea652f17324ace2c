//! What a rule changes in a response, in the codec's terms. What the changes are is said in
//! `pointsman_route::action`, which `explain` runs too.
use pointsman_model::action::FieldOps;
use pointsman_route::{
    Rule,
    action::{self, Extra, Levels, levels},
};
use pointsman_wire::http1::FieldSet;
use std::sync::Arc;

/// What is done to the fields of the response to a routed request, whoever makes it (VS-H-106).
#[derive(Default)]
pub(crate) enum Changes {
    #[default]
    Nothing,
    /// The operations of the rule and of its destination at this index.
    Rule(Arc<Rule>, usize),
    /// Operations of this request alone, level by level, and whether they are carried out in turn.
    Own(Box<[FieldOps]>, bool),
}

impl Changes {
    /// Those of the rule and its destination at `target`, then `last`. Without `last` nothing is
    /// copied.
    pub(crate) fn new(rule: &Arc<Rule>, target: usize, last: Option<FieldOps>) -> Self {
        let levels = levels(rule, Some(target), |headers| &headers.response);
        match last {
            Some(last) => {
                let own = levels.iter().cloned().chain([last]).collect();
                Self::Own(own, levels.in_turn())
            }
            None if levels.is_empty() => Self::Nothing,
            None => Self::Rule(rule.clone(), target),
        }
    }

    /// The operations, level by level.
    pub(crate) fn levels(&self) -> Levels<'_> {
        match self {
            Self::Nothing => Levels::new(),
            Self::Rule(rule, target) => levels(rule, Some(*target), |headers| &headers.response),
            Self::Own(levels, in_turn) => Levels::of(levels, *in_turn),
        }
    }
}

/// The received fields to leave out and the ones to append.
pub(crate) fn operations<'a, 'n>(
    levels: &Levels<'a>,
    names: impl Iterator<Item = &'n str> + Clone,
) -> (FieldSet, Extra<'a>) {
    let mut drop = FieldSet::default();
    let extra = action::operations(levels, names, |index| drop.insert(index));
    (drop, extra)
}

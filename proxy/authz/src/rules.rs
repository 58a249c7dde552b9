//! Rules of one kind, in the order in which they are asked.

use crate::{
    condition::{Condition, Lean},
    facts::Facts,
    index::Index,
    subject::View,
};
use sidle_model::ir::{self, AuthorizationRule};
use std::sync::Arc;

/// So many are faster one by one.
const FEW: usize = 4;

/// Rules of one kind.
#[derive(Debug)]
pub(crate) struct Rules {
    /// By name, as Envoy asks them.
    list: Box<[Rule]>,
    index: Option<Index>,
    lean: Lean,
}

/// One rule, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As it was.
    pub source: Arc<AuthorizationRule>,
    /// Who is asked, if that is what follows.
    pub provider: Option<Arc<str>>,
    from: Box<[Clause]>,
    to: Box<[Clause]>,
    when: Clause,
}

type Clause = Box<[Condition]>;

impl Rules {
    /// Compiles.
    pub fn new(mut list: Vec<(Arc<AuthorizationRule>, Option<Arc<str>>)>, lean: Lean) -> Self {
        list.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        let index = (list.len() > FEW).then(|| Index::new(list.iter().map(|(rule, _)| &**rule)));
        let list = list.into_iter().map(|(source, provider)| Rule::new(source, provider));
        Rules { list: list.collect(), index, lean }
    }

    /// The first rule that holds.
    pub fn first<F: Facts>(&self, view: &View<'_, F>) -> Option<&Rule> {
        let holds = |rule: &&Rule| rule.holds(view, self.lean);
        match &self.index {
            None => self.list.iter().find(holds),
            Some(index) => {
                let candidates = index.candidates(view);
                candidates.into_iter().map(|place| &self.list[place as usize]).find(holds)
            }
        }
    }
}

impl Rule {
    /// Compiles.
    pub fn new(source: Arc<AuthorizationRule>, provider: Option<Arc<str>>) -> Self {
        let clause = |clause: &ir::Clause| clause.iter().map(Condition::new).collect::<Clause>();
        Rule {
            from: source.from.iter().map(clause).collect(),
            to: source.to.iter().map(clause).collect(),
            when: clause(&source.when),
            provider,
            source,
        }
    }

    fn holds<F: Facts>(&self, view: &View<'_, F>, lean: Lean) -> bool {
        let all = |clause: &Clause| clause.iter().all(|condition| condition.holds(view, lean));
        let any = |clauses: &[Clause]| clauses.is_empty() || clauses.iter().any(all);
        any(&self.to) && any(&self.from) && all(&self.when)
    }
}

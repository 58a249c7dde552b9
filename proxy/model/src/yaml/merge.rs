//! Aliases and `<<` merges: the two ways in which a small text becomes a large tree.
//!
//! Aliases are copied in place, which is what makes bombs, so copies have a budget of their own. The positions of a copy
//! are those of the anchored value: that is the text to change.

use super::{Kind, build::Builder};
use crate::diagnostic::{Diagnostic, codes};
use saphyr_parser::Span as EventSpan;
use std::collections::HashSet;

impl Builder {
    /// Puts a copy of the anchored value where the alias stands.
    pub(super) fn alias(&mut self, anchor: usize, span: &EventSpan) -> Result<(), Diagnostic> {
        let Some(&index) = self.anchors.get(&anchor) else {
            return Err(self.error(codes::SYNTAX, span, "an alias to the very value that it stands in"));
        };
        let is_key = self.is_key();
        if is_key && matches!(self.nodes[index].kind, Kind::Sequence | Kind::Mapping) {
            return Err(self.error(codes::KEY, span, "a list or an object cannot be a key"));
        }
        if self.open.len() + self.height(index) > self.budget.depth {
            return Err(self.too_deep(span));
        }
        self.count_child();
        let copy = self.nodes.len();
        self.copy(index, span)?;
        if is_key {
            self.nodes[copy].kind = Kind::Text;
        }
        Ok(())
    }

    /// Lists and objects inside one another in the subtree at `index`.
    fn height(&self, index: usize) -> usize {
        let mut ends = Vec::new();
        let mut height = 0;
        for at in index..index + self.nodes[index].size as usize {
            while ends.last().is_some_and(|end| *end <= at) {
                ends.pop();
            }
            if matches!(self.nodes[at].kind, Kind::Sequence | Kind::Mapping) {
                ends.push(at + self.nodes[at].size as usize);
                height = height.max(ends.len());
            }
        }
        height
    }

    /// Appends a copy of the subtree at `index`.
    fn copy(&mut self, index: usize, span: &EventSpan) -> Result<(), Diagnostic> {
        let size = self.nodes[index].size as usize;
        if size > self.copies_left {
            let message =
                format!("the aliases of this document stand for more than {} values", self.budget.copies);
            return Err(self.error(codes::BUDGET, span, message));
        }
        self.copies_left -= size;
        self.spend(size, span)?;
        self.nodes.extend_from_within(index..index + size);
        Ok(())
    }

    /// Appends to the open mapping of `pairs` what its `<<` entry brings and it does not have itself.
    pub(super) fn merge(&mut self, pairs: &[(usize, usize)], span: &EventSpan) -> Result<(), Diagnostic> {
        let Some(&(_, source)) = pairs.iter().find(|(key, _)| self.nodes[*key].kind == Kind::Merge) else {
            return Ok(());
        };
        let mut keys: HashSet<String> = pairs.iter().map(|(key, _)| self.key_text(*key).to_owned()).collect();
        for mapping in self.merge_sources(source, span)? {
            let end = mapping + self.nodes[mapping].size as usize;
            for (key, value) in self.pairs(mapping, end) {
                if self.nodes[key].kind != Kind::Merge && keys.insert(self.key_text(key).to_owned()) {
                    self.copy(key, span)?;
                    self.copy(value, span)?;
                }
            }
        }
        Ok(())
    }

    /// The mappings that the value of `<<` at `source` names: one, or a list.
    fn merge_sources(&self, source: usize, span: &EventSpan) -> Result<Vec<usize>, Diagnostic> {
        let sources = match self.nodes[source].kind {
            Kind::Mapping => vec![source],
            Kind::Sequence => {
                let end = source + self.nodes[source].size as usize;
                let next = |at: &usize| Some(at + self.nodes[*at].size as usize).filter(|at| *at < end);
                std::iter::successors(Some(source + 1).filter(|at| *at < end), next).collect()
            }
            _ => Vec::new(),
        };
        if sources.is_empty() || sources.iter().any(|at| self.nodes[*at].kind != Kind::Mapping) {
            return Err(self.error(
                codes::SYNTAX,
                span,
                "`<<` merges an object or a list of objects, and nothing else",
            ));
        }
        Ok(sources)
    }
}

//! Answers for names of the mesh.
//!
//! In:  a question.   Out: the answer, or that the name is not of the mesh.
//! Invariants: a name of the mesh without an address of the wanted family is an empty answer, not a question for others; a name
//! with a search domain behind it is an alias of the name itself, as resolvers try them before the name alone.
//! Not here: sockets.

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};
use sidle_model::ir;
use std::{net::IpAddr, sync::Arc};

/// How long an answer holds, in seconds: Istio's.
const TTL: u32 = 30;

/// The names of the mesh.
pub struct Names {
    names: Arc<ir::Names>,
    /// The search domains of the machine, as `.default.svc.cluster.local.`.
    suffixes: Arc<[String]>,
}

impl Names {
    /// None.
    pub fn new(suffixes: Vec<String>) -> Self {
        Names { names: Arc::default(), suffixes: suffixes.into() }
    }

    /// These.
    pub fn with(&self, names: Arc<ir::Names>) -> Self {
        Names { names, suffixes: self.suffixes.clone() }
    }

    /// The answer; `None`: the name is not of the mesh, or something else than an address is asked for.
    pub fn answer(&self, question: &Message) -> Option<Message> {
        let query = question.queries.first()?;
        if !matches!(query.query_type, RecordType::A | RecordType::AAAA) {
            return None;
        }
        let asked = query.name.to_lowercase().to_ascii();
        let asked = if asked.ends_with('.') { asked } else { asked + "." };
        let mut answer = failure(question, ResponseCode::NoError);
        answer.metadata.authoritative = true;
        let (addresses, owner) = match self.find(&asked) {
            Some(addresses) => (addresses, query.name.clone()),
            None => {
                let bare = self.suffixes.iter().filter_map(|suffix| asked.strip_suffix(suffix.as_str()));
                let (name, addresses) =
                    bare.filter_map(|bare| Some((bare, self.find(&format!("{bare}."))?))).next()?;
                let name = Name::from_ascii(format!("{name}.")).ok()?;
                let alias = RData::CNAME(CNAME(name.clone()));
                answer.add_answer(Record::from_rdata(query.name.clone(), TTL, alias));
                (addresses, name)
            }
        };
        for address in addresses {
            let data = match (address, query.query_type) {
                (IpAddr::V4(address), RecordType::A) => RData::A((*address).into()),
                (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA((*address).into()),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(owner.clone(), TTL, data));
        }
        Some(answer)
    }

    /// `name` has a dot at its end.
    fn find(&self, name: &str) -> Option<&[IpAddr]> {
        let name = name.strip_suffix('.')?;
        if let Some(addresses) = self.names.get(name) {
            return Some(addresses);
        }
        // The longest wildcard, as for routes.
        let dots = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
        dots.filter_map(|wild| self.names.get(wild.as_str())).next().map(Vec::as_slice)
    }
}

/// An answer without any record.
pub fn failure(question: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.add_queries(question.queries.iter().cloned());
    answer
}

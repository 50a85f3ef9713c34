//! Which route a request takes.
//!
//! A [`Table`] is built once per configuration and never changes. A search goes from the listener to the host, from the
//! host along the segments of the path, and asks the conditions of the routes that are left, the most specific first:
//!
//! 1. the host: an exact one, then the longest wildcard, then none;
//! 2. the path: exact, then the longest prefix; an expression counts as the folder that it literally begins with, and
//!    goes before a prefix of the same length; no path counts as `/`;
//! 3. a method, then more header fields, more parameters of the query, more cookies, client networks;
//! 4. the order of the file.
//!
//! The first whose conditions hold is taken, whatever its host: a route for all hosts serves what no other route does.
//! This is the precedence of the Gateway API, with our word on what it leaves open.
//!
//! Invariant: a search allocates nothing and takes no lock; its cost does not depend on how many hosts and paths there
//! are. Deliberately absent: what routes lead to, which is the caller's (`T`).

mod arena;
mod condition;
mod decision;
mod host;
mod index;
mod list;
mod names;
mod normalise;
mod path;
mod request;
mod split;
mod table;
mod target;
#[cfg(test)]
mod tests;

pub use condition::{Match, Unmet, Wanted};
pub use decision::{Considered, Decision, Outcome};
pub use host::{Host, HostPattern};
pub use normalise::{EncodedSlashes, Normalisation, Path, RepeatedSlashes, Unfit, normalise};
pub use path::{PathPattern, replacement_path, rule_path};
pub use request::Request;
pub use split::Split;
pub use table::Table;
pub use target::path_and_query;

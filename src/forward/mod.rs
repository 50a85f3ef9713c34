//! Towards the backend and back: what is connected to, what is changed in the head of a message on its way,
//! how long we wait, what is tried again, and HTTP/1.1 as it is spoken with backends.

pub mod answer;
pub mod deadline;
pub mod fields;
pub mod header_rules;
pub mod http1;
pub mod max_forwards;
pub mod origin;
pub mod peer;
pub mod retry;
pub mod rewrite;
pub mod template;
pub mod tls;
pub mod via;

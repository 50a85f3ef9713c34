//! Towards the backend and back: what is connected to, what is changed in the head of a message on its way,
//! how long we wait, what is tried again, and how HTTP is spoken with backends.

pub mod answer;
pub mod call;
pub mod connections;
pub mod deadline;
pub mod fields;
pub mod header_rules;
pub mod hops;
pub mod http1;
pub mod http2;
pub mod kept;
pub mod max_forwards;
pub mod origin;
pub mod peer;
pub mod request_head;
pub mod retry;
pub mod rewrite;
pub mod template;
pub mod tls;
pub mod trailers;
pub mod via;

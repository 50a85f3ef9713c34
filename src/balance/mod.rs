//! How an upstream picks a backend. Policies know weights and order, nothing of health or load:
//! whoever asks says which of the offered backends it accepts.

mod smooth_round_robin;

pub use smooth_round_robin::SmoothRoundRobin;

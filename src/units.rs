//! stub
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);
impl Percent { pub fn new(p: u8) -> Option<Self> { (p<=100).then_some(Percent(p)) } pub fn fraction(self) -> f64 { f64::from(self.0)/100.0 } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit { Unlimited, At(u64) }

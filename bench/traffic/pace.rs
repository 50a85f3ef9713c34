//! When requests are due, and how long they took.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;

/// How long answers are waited for after the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One clock for all connections: in an open loop whoever is free takes the request that is due next, and where nobody is
/// free it grows late, which counts.
pub(crate) struct Pace {
    began: Instant,
    until: Instant,
    rate: Option<f64>,
    /// How many are due in all, in an open loop.
    total: u64,
    due: Arc<Semaphore>,
    taken: Cell<u64>,
    answered: Cell<u64>,
    micros: RefCell<Vec<u32>>,
    failures: RefCell<BTreeMap<String, u64>>,
}

impl Pace {
    pub(crate) fn new(rate: Option<f64>, length: Duration) -> Rc<Self> {
        let began = Instant::now() + Duration::from_millis(if rate.is_some() { 200 } else { 0 });
        let due = Arc::new(Semaphore::new(0));
        let total = rate.map_or(0, |rate| (rate * length.as_secs_f64()) as u64);
        if let Some(rate) = rate {
            let due = Arc::clone(&due);
            // A thread that sleeps until each request is due: the runtime's own clock counts in milliseconds.
            std::thread::spawn(move || {
                for given in 0..total {
                    let at = began + Duration::from_secs_f64(given as f64 / rate);
                    std::thread::sleep(at.saturating_duration_since(Instant::now()));
                    due.add_permits(1);
                }
                // Whoever still waits sees that nothing more is due.
                due.add_permits(Semaphore::MAX_PERMITS / 2);
            });
        }
        Rc::new(Self {
            began,
            until: began + length,
            rate,
            total,
            due,
            taken: Cell::new(0),
            answered: Cell::new(0),
            micros: RefCell::default(),
            failures: RefCell::default(),
        })
    }

    /// Waits for the next request that is due and says since when; none at the end.
    pub(crate) async fn next(&self) -> Option<Instant> {
        let Some(rate) = self.rate else {
            return (!self.over()).then(Instant::now);
        };
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.get();
        if number >= self.total {
            return None;
        }
        self.taken.set(number + 1);
        Some(self.began + Duration::from_secs_f64(number as f64 / rate))
    }

    /// Whether nothing more is to be asked.
    pub(crate) fn ended(&self) -> bool {
        match self.rate {
            Some(_) => self.taken.get() >= self.total,
            None => self.over(),
        }
    }

    fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    pub(crate) fn answered(&self, due: Instant) {
        // What is answered after the end is not of these seconds, but in an open loop it was due in them.
        if self.rate.is_some() || !self.over() {
            self.answered.set(self.answered.get() + 1);
            self.micros.borrow_mut().push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn failed(&self, why: &str) {
        *self.failures.borrow_mut().entry(why.to_owned()).or_default() += 1;
    }

    /// One line of JSON: requests, requests a second, times in milliseconds, failures and why.
    pub(crate) fn report(&self) -> String {
        let mut micros = self.micros.take();
        micros.sort_unstable();
        let at = |share: f64| {
            let place = (share * micros.len() as f64) as usize;
            micros.get(place.min(micros.len().saturating_sub(1))).map(|&each| f64::from(each) / 1000.0)
        };
        let failures = self.failures.take();
        let seconds = (self.until - self.began).as_secs_f64();
        // In an open loop what was due and never answered has failed too.
        let failed = failures.values().sum::<u64>().max(self.total.saturating_sub(self.answered.get()));
        json!({
            "requests": self.answered.get(),
            "per_second": self.answered.get() as f64 / seconds,
            "p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1.0),
            "errors": failed,
            "why": failures,
        })
        .to_string()
    }
}

//! Lists whose places are numbers of four bytes: tables of a hundred thousand routes are made of them.
//!
//! Invariant: an [`Id`] comes from [`Arena::push`] and is used with the arena that gave it.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// A place in an arena. An `Option` of it takes no more room.
pub(super) struct Id<T>(NonZeroU32, PhantomData<fn() -> T>);

impl<T> Id<T> {
    /// For hashing: different for every place.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A list that only grows.
#[derive(Debug)]
pub(super) struct Arena<T>(Vec<T>);

impl<T> Arena<T> {
    pub fn new() -> Arena<T> {
        Arena(Vec::new())
    }

    /// The place of what was added. There are fewer than 2³² of anything: a configuration has 16 MiB at most.
    pub fn push(&mut self, value: T) -> Id<T> {
        self.0.push(value);
        let number = u32::try_from(self.0.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        Id(number, PhantomData)
    }

    pub fn get(&self, id: Id<T>) -> Option<&T> {
        self.0.get(id.index())
    }

    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        self.0.get_mut(id.index())
    }

    /// All, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        ids().zip(&self.0)
    }

    /// All, with their places, taken out.
    pub fn into_entries(self) -> impl Iterator<Item = (Id<T>, T)> {
        ids().zip(self.0)
    }

    /// The same list of other values at the same places.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Arena<U> {
        Arena(self.0.into_iter().map(change).collect())
    }
}

fn ids<T>() -> impl Iterator<Item = Id<T>> {
    (1..=u32::MAX).filter_map(NonZeroU32::new).map(|number| Id(number, PhantomData))
}

impl<T> Id<T> {
    /// The same place in the arena that [`Arena::map`] has made.
    pub fn cast<U>(self) -> Id<U> {
        Id(self.0, PhantomData)
    }
}

//! Which route a request takes.
//!
//! For now a route is chosen by its listener alone: the first in the file that names it. The table is built
//! once per configuration and holds whatever the caller wants to find.

/// Routes by listener.
#[derive(Debug)]
pub struct Table<T> {
    routes: Vec<T>,
    /// For each listener the index of its first route.
    by_listener: Vec<Option<usize>>,
}

impl<T> Table<T> {
    /// Builds the table from routes in file order, each with the listeners it serves.
    pub fn new(listeners: usize, routes: impl IntoIterator<Item = (Vec<usize>, T)>) -> Table<T> {
        let mut table = Table { routes: Vec::new(), by_listener: vec![None; listeners] };
        for (served, route) in routes {
            for listener in served {
                if let Some(first) = table.by_listener.get_mut(listener) {
                    first.get_or_insert(table.routes.len());
                }
            }
            table.routes.push(route);
        }
        table
    }

    /// The route for requests of this listener.
    pub fn find(&self, listener: usize) -> Option<&T> {
        let index = (*self.by_listener.get(listener)?)?;
        self.routes.get(index)
    }

    /// All routes, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.routes.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_of_a_listener_wins_and_a_listener_without_one_has_none() {
        let table = Table::new(3, [(vec![0], "a"), (vec![0, 1], "b")]);
        assert_eq!(table.find(0), Some(&"a"));
        assert_eq!(table.find(1), Some(&"b"));
        assert_eq!(table.find(2), None);
        assert_eq!(table.find(9), None);
    }
}

//! From a host and a path to the routes that may be meant, the most specific first.
//!
//! Hosts are found by hash: the exact name, then for each label that is left away the domain below which it is. Each
//! host has a tree of path segments; all trees are one table of `(node, segment) → node`, so a segment is one look-up
//! and the number of routes is nobody's cost. Nodes know the nearest node above them that has routes.
//!
//! Invariant: nothing is allocated by a search. Deliberately absent: what routes lead to.

use super::arena::{Arena, Id};
use super::condition::{AllConditions, Match};
use super::host::HostPattern;
use super::list::List;
use super::names::Names;
use super::path::{PathPattern, segments};
use super::request::Request;

/// Hosts are under no node: this is the number of none.
const HOSTS: u32 = 0;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Index {
    exact_hosts: Names<Id<Node>>,
    domains: Names<Id<Node>>,
    /// Of the longest domain: shorter ones are not asked about.
    most_labels: usize,
    /// The tree of routes for all hosts.
    any_host: Option<Id<Node>>,
    segments: Names<Id<Node>>,
    nodes: Arena<Node>,
    lists: Arena<List>,
}

/// A path in the tree of a host.
#[derive(Debug)]
struct Node {
    /// Of its tree.
    root: Option<Id<Node>>,
    /// The next one above it that has routes for all below.
    above: Option<Id<Node>>,
    /// Routes for exactly this path.
    exact: Option<Id<List>>,
    /// Routes for this path and all below.
    prefix: Option<Id<List>>,
}

impl Index {
    /// The most specific route whose conditions hold.
    pub fn find(&self, request: &Request<'_>, conditions: &AllConditions) -> Option<u32> {
        self.lists(request).find_map(|list| list.find(request, conditions))
    }

    /// The routes whose host, and path or its beginning, match, the most specific first.
    pub fn lists<'a>(&'a self, request: &Request<'a>) -> impl Iterator<Item = &'a List> {
        let path = request.path;
        self.roots(request.host).flat_map(move |root| self.lists_for(root, path))
    }

    /// The trees of a host: its own, those of the domains that it is below, the longest first, that of all hosts.
    fn roots<'a>(&'a self, host: &'a [u8]) -> impl Iterator<Item = Id<Node>> + 'a {
        let exact = self.exact_hosts.find(HOSTS, host);
        let below = if self.domains.is_empty() { &[][..] } else { host };
        let passed = below.split(|byte| *byte == b'.').count().saturating_sub(self.most_labels);
        let ends = below.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at + 1);
        let domains = ends.skip(passed.saturating_sub(1)).filter_map(|start| below.get(start..));
        let domains = domains.filter_map(|domain| self.domains.find(HOSTS, domain));
        exact.into_iter().chain(domains).chain(self.any_host)
    }

    /// The lists of a path: for exactly this one, then for the longest beginnings.
    fn lists_for(&self, root: Id<Node>, path: &str) -> impl Iterator<Item = &List> + use<'_> {
        let mut deepest = root;
        let mut whole = true;
        for segment in segments(path) {
            match self.segments.find(deepest.number(), segment.as_bytes()) {
                Some(node) => deepest = node,
                None => {
                    whole = false;
                    break;
                }
            }
        }
        let node = |id: Id<Node>| self.nodes.get(id);
        let exact = if whole { node(deepest).and_then(|node| node.exact) } else { None };
        let upwards = std::iter::successors(node(deepest), move |below| node(below.above?));
        let prefixes = upwards.filter_map(|node| node.prefix);
        exact.into_iter().chain(prefixes).filter_map(|list| self.lists.get(list))
    }

    /// Every list, and whether it is of the request's host.
    pub fn all_lists<'a>(&'a self, request: &Request<'a>) -> impl Iterator<Item = (bool, &'a List)> {
        let roots: Vec<Id<Node>> = self.roots(request.host).collect();
        self.nodes.iter().flat_map(move |(id, node)| {
            let of_host = roots.contains(&node.root.unwrap_or(id));
            let lists = [node.exact, node.prefix].into_iter().flatten();
            lists.filter_map(move |list| Some((of_host, self.lists.get(list)?)))
        })
    }
}

/// An index that grows.
#[derive(Debug)]
pub(super) struct Draft {
    exact_hosts: Names<Id<Node>>,
    domains: Names<Id<Node>>,
    most_labels: usize,
    any_host: Option<Id<Node>>,
    segments: Names<Id<Node>>,
    nodes: Arena<DraftNode>,
}

#[derive(Debug, Default)]
struct DraftNode {
    root: Option<Id<DraftNode>>,
    parent: Option<Id<DraftNode>>,
    exact: Vec<u32>,
    prefix: Vec<u32>,
}

impl Draft {
    pub fn new() -> Draft {
        Draft {
            exact_hosts: Names::new(),
            domains: Names::new(),
            most_labels: 0,
            any_host: None,
            segments: Names::new(),
            nodes: Arena::new(),
        }
    }

    /// Adds a route. Routes must be added in the order in which they are asked where host and path are the same.
    pub fn add(&mut self, route: u32, wanted: &Match) {
        let folder = wanted.path.as_ref().map_or_else(String::new, PathPattern::folder);
        let roots: Vec<Id<DraftNode>> = if wanted.hosts.is_empty() {
            vec![self.any_host()]
        } else {
            wanted.hosts.iter().map(|host| self.host(host)).collect()
        };
        for root in roots {
            let node = segments(&folder).fold(root, |above, segment| self.below(root, above, segment));
            let Some(node) = self.nodes.get_mut(node) else { continue };
            let list =
                if matches!(wanted.path, Some(PathPattern::Exact(_))) { &mut node.exact } else { &mut node.prefix };
            // Two spellings of one host may stand in one route.
            if list.last() != Some(&route) {
                list.push(route);
            }
        }
    }

    fn any_host(&mut self) -> Id<DraftNode> {
        let root = self.any_host.map_or_else(|| self.nodes.push(DraftNode::default()), Id::cast);
        self.any_host = Some(root.cast());
        root
    }

    fn host(&mut self, host: &HostPattern) -> Id<DraftNode> {
        let (names, name) = match host {
            HostPattern::Exact(name) => (&mut self.exact_hosts, name),
            HostPattern::Below(domain) => {
                self.most_labels = self.most_labels.max(domain.split('.').count());
                (&mut self.domains, domain)
            }
        };
        names.find(HOSTS, name.as_bytes()).map(Id::cast).unwrap_or_else(|| {
            let root = self.nodes.push(DraftNode::default());
            names.insert(HOSTS, name.as_bytes(), root.cast());
            root
        })
    }

    fn below(&mut self, root: Id<DraftNode>, parent: Id<DraftNode>, segment: &str) -> Id<DraftNode> {
        let known = self.segments.find(parent.number(), segment.as_bytes());
        known.map(Id::cast).unwrap_or_else(|| {
            let node = DraftNode { root: Some(root), parent: Some(parent), ..DraftNode::default() };
            let node = self.nodes.push(node);
            self.segments.insert(parent.number(), segment.as_bytes(), node.cast());
            node
        })
    }

    /// The index of all that was added.
    pub fn finish(self, conditions: &AllConditions) -> Index {
        let Draft { mut exact_hosts, mut domains, most_labels, any_host, mut segments, nodes } = self;
        for names in [&mut exact_hosts, &mut domains, &mut segments] {
            names.shrink();
        }
        let mut finished = Arena::new();
        let mut lists = Arena::new();
        let mut list =
            |candidates: Vec<u32>| (!candidates.is_empty()).then(|| lists.push(List::new(candidates, conditions)));
        // For each node the nearest that has routes for all below, itself included; parents come before their children.
        let mut nearest: Arena<Option<Id<Node>>> = Arena::new();
        for (id, draft) in nodes.into_entries() {
            let above = draft.parent.and_then(|parent| nearest.get(parent.cast()).copied().flatten());
            nearest.push(if draft.prefix.is_empty() { above } else { Some(id.cast()) });
            let (exact, prefix) = (list(draft.exact), list(draft.prefix));
            finished.push(Node { root: draft.root.map(Id::cast), above, exact, prefix });
        }
        let nodes = finished;
        Index { exact_hosts, domains, most_labels, any_host, segments, nodes, lists }
    }
}

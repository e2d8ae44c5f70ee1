//! Edges of the graph: who stands on whom, with which rights.

use crate::error::{ErrorKind, Result};
use crate::node::Node;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What a parent uses a child for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildRole {
    /// The root: used by a backend, not by another node.
    Root,
    /// The storage in which a format keeps its own layout.
    File,
    /// The node whose requests a filter passes through.
    Filtered,
}

impl ChildRole {
    /// The option key under which a parent usually names this child.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::File | Self::Filtered => "file",
        }
    }
}

/// What a parent needs of a child and allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildNeeds {
    /// What the child is for.
    pub role: ChildRole,
    /// Whether this parent writes to the child.
    pub write: bool,
    /// Whether this parent tolerates that others write to the child meanwhile. There is at most
    /// one writer unless every user of the node tolerates the others.
    pub share_write: bool,
    /// Whether this parent carries zones: a parent that does not would break a zoned child's write
    /// order, so it is refused one.
    pub carries_zones: bool,
}

/// An attached child: a handle to the node below, which gives up its rights when dropped.
///
/// It dereferences to the [`Node`], whose methods take requests.
pub struct Child {
    node: Arc<Node>,
    needs: ChildNeeds,
    ticket: u64,
    /// What closing came to.
    closed: OnceCell<Result<()>>,
}

impl Child {
    /// What this edge is for, and its rights.
    pub fn needs(&self) -> &ChildNeeds {
        &self.needs
    }

    /// The node below.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Gives up this parent's rights, and closes the node (see [`Node::close`]) if no other parent
    /// has any. No request may follow through this edge. A second call waits for the first one and
    /// returns the same; if the future is dropped, another call ends the work.
    ///
    /// # Errors
    /// Whatever closing meets.
    pub async fn close(&self) -> Result<()> {
        let work = || async {
            if !self.node.begin_leave(self.ticket) {
                return Ok(());
            }
            let result = Box::pin(self.node.close()).await;
            self.node.users().remove(self.ticket);
            result
        };
        self.closed.get_or_init(work).await.clone()
    }
}

impl Deref for Child {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.node.users().remove(self.ticket);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> '{}'", self.needs.role, self.node.name())
    }
}

impl Node {
    /// Attaches a parent: the only way to a [`Child`], so the rules below hold however a graph is
    /// built. `parent` names the user in messages.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) for a node that was closed;
    /// [`InvalidOption`](ErrorKind::InvalidOption) for a zoned node under a parent that does not
    /// carry zones; [`ReadOnly`](ErrorKind::ReadOnly) for a writer of a read-only node;
    /// [`Busy`](ErrorKind::Busy) if the parent and the present users do not agree to share.
    pub fn attach(self: &Arc<Self>, needs: ChildNeeds, parent: &str) -> Result<Child> {
        let mut users = self.users();
        if self.is_closed() {
            return Err(crate::Error::from(ErrorKind::Closed).with_node(self.name_arc()));
        }
        if self.limits().zoned.is_some() && !needs.carries_zones {
            return Err(ErrorKind::InvalidOption(format!(
                "'{parent}' cannot stand on the zoned node '{}': it does not carry zones, so its \
                 writes would break the order that zones demand",
                self.name()
            ))
            .into());
        }
        if needs.write && self.limits().read_only {
            return Err(crate::Error::from(ErrorKind::ReadOnly).with_node(self.name_arc()));
        }
        let ticket = users.add(needs, parent, self.name())?;
        drop(users);
        Ok(Child { node: Arc::clone(self), needs, ticket, closed: OnceCell::new() })
    }

    /// Takes a user out, unless it is the last one: it then stays until the node is closed, to which
    /// nobody can attach from now on. Whether it is.
    fn begin_leave(&self, ticket: u64) -> bool {
        let mut users = self.users();
        let is_last = users.is_last(ticket);
        if is_last {
            self.refuse_users();
        } else {
            users.remove(ticket);
        }
        is_last
    }
}

/// The present users of a node.
#[derive(Debug, Default)]
pub(crate) struct Users {
    list: Vec<(u64, ChildNeeds, String)>,
    next_ticket: u64,
}

impl Users {
    fn add(&mut self, needs: ChildNeeds, parent: &str, node: &str) -> Result<u64> {
        let conflict = self.list.iter().find(|(_, other, _)| {
            (needs.write && !other.share_write) || (other.write && !needs.share_write)
        });
        if let Some((_, other, name)) = conflict {
            let (what, whose) = if needs.write && !other.share_write {
                ("write to", "does not share writing")
            } else {
                ("share", "is writing")
            };
            return Err(ErrorKind::Busy(format!(
                "'{parent}' cannot {what} node '{node}': '{name}' uses it and {whose}"
            ))
            .into());
        }
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.list.push((ticket, needs, parent.to_owned()));
        Ok(ticket)
    }

    /// Whether this user is there, and no other.
    fn is_last(&self, ticket: u64) -> bool {
        matches!(self.list.as_slice(), [(only, ..)] if *only == ticket)
    }

    fn remove(&mut self, ticket: u64) {
        self.list.retain(|(t, ..)| *t != ticket);
    }
}

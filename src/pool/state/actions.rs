use smallvec::SmallVec;

use super::{Dial, Grant, Refusal};

/// What the shell must do after unlocking.
#[derive(Debug)]
pub(crate) struct Actions<C, W> {
    /// Most often one: where a connection has come back.
    pub(crate) grants: SmallVec<[(W, Grant<C>); 1]>,
    pub(crate) refusals: Vec<(W, Refusal)>,
    pub(crate) dials: Vec<Dial>,
    /// Idle connections to close in good order.
    pub(crate) closes: Vec<C>,
    /// Connections to drop whatever they are doing.
    pub(crate) aborts: Vec<C>,
    /// Connections whose drivers would look too late whether their time is over.
    pub(crate) checks: Vec<C>,
    /// Nothing is open or waited for any more: the end of a drain.
    pub(crate) quiet: bool,
}

impl<C, W> Actions<C, W> {
    /// Whether there is nothing to do, as most often when a connection is taken or given back.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            grants,
            refusals,
            dials,
            closes,
            aborts,
            checks,
            quiet,
        } = self;
        grants.is_empty()
            && refusals.is_empty()
            && dials.is_empty()
            && closes.is_empty()
            && aborts.is_empty()
            && checks.is_empty()
            && !quiet
    }
}

impl<C, W> Default for Actions<C, W> {
    fn default() -> Self {
        Self {
            grants: SmallVec::new(),
            refusals: Vec::new(),
            dials: Vec::new(),
            closes: Vec::new(),
            aborts: Vec::new(),
            checks: Vec::new(),
            quiet: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_to_do_is_one() {
        let mut some: [Actions<(), ()>; 6] = std::array::from_fn(|_| Actions::default());
        assert!(some[0].is_empty(), "nothing is to be done at first");
        some[0].refusals.push(((), Refusal::Draining));
        some[1].closes.push(());
        some[2].aborts.push(());
        some[3].checks.push(());
        some[4].quiet = true;
        some[5].closes.push(());
        some[5].quiet = true;
        for actions in some {
            assert!(!actions.is_empty(), "{actions:?}");
        }
    }
}

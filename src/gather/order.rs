use std::collections::VecDeque;

/// In which order what a [`Gather`](crate::Gather) brings is handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// In the order of the requests. The default.
    #[default]
    Request,
    /// Whichever is there first.
    Completion,
}

/// Room for so many is made before the first has come; for more, as they come.
const MOST_ROOM: usize = 16;

/// Puts things that come in any order into the one asked for.
#[derive(Debug)]
pub(super) struct Line<T> {
    order: Order,
    /// In request order, the place of the first slot; the slots of those yet to come are empty.
    turn: usize,
    slots: VecDeque<Option<T>>,
}

impl<T> Line<T> {
    /// For so many things, if they are not many.
    pub(super) fn new(order: Order, things: usize) -> Self {
        Self {
            order,
            turn: 0,
            slots: VecDeque::with_capacity(things.min(MOST_ROOM)),
        }
    }

    pub(super) fn push(&mut self, index: usize, item: T) {
        let place = match self.order {
            Order::Request => index.saturating_sub(self.turn),
            Order::Completion => self.slots.len(),
        };
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, || None);
        }
        self.slots[place] = Some(item);
    }

    /// The next whose turn has come.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.slots.front()?.as_ref()?;
        self.turn += 1;
        self.slots.pop_front().flatten()
    }

    /// Ends with `last`: what is there in its turn stays before it, what waits for its turn goes.
    pub(super) fn close(&mut self, last: T) {
        let in_turn = self.slots.iter().take_while(|slot| slot.is_some()).count();
        self.slots.truncate(in_turn);
        self.slots.push_back(Some(last));
    }

    /// Whose turn it is, where the order says so.
    pub(super) fn turn(&self) -> Option<usize> {
        (self.order == Order::Request).then_some(self.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(order: Order, indexes: &[usize]) -> Vec<Vec<usize>> {
        let mut line = Line::new(order, indexes.len());
        let step = |&index| {
            line.push(index, index);
            std::iter::from_fn(|| line.pop()).collect()
        };
        indexes.iter().map(step).collect()
    }

    #[test]
    fn in_request_order_each_waits_for_those_before_it() {
        assert_eq!(
            arrive(Order::Request, &[2, 0, 3, 1]),
            [vec![], vec![0], vec![], vec![1, 2, 3]],
            "what came early is handed on as soon as its turn comes"
        );
    }

    #[test]
    fn a_closed_line_keeps_what_has_its_turn() {
        let mut line = Line::new(Order::Request, 0);
        for index in [0, 1, 3] {
            line.push(index, index);
        }
        line.close(4);
        let left: Vec<_> = std::iter::from_fn(|| line.pop()).collect();
        assert_eq!(left, [0, 1, 4], "3 still waited for 2");
    }

    #[test]
    fn in_completion_order_none_waits() {
        assert_eq!(
            arrive(Order::Completion, &[2, 0, 1]),
            [[2], [0], [1]],
            "each is handed on as it comes"
        );
    }
}

//! Doubly linked lists threaded through a slab, so that taking any element out of the middle costs
//! the same whatever the list's length, and an element can stand in several lists.

use slab::Slab;

/// An element's neighbours in one list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    prev: Option<usize>,
    next: Option<usize>,
}

/// An element that stands in lists, each known by a number.
pub(super) trait Node {
    fn links(&mut self, list: usize) -> &mut Links;
}

/// The list with the number `WHICH`. Its elements are keys of the slab that each call is given,
/// which must always be the same one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List<const WHICH: usize> {
    front: Option<usize>,
    back: Option<usize>,
    len: usize,
}

impl<const WHICH: usize> List<WHICH> {
    pub(super) fn front(&self) -> Option<usize> {
        self.front
    }

    pub(super) fn back(&self) -> Option<usize> {
        self.back
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back<T: Node>(&mut self, slab: &mut Slab<T>, key: usize) {
        let prev = self.back.replace(key);
        *slab[key].links(WHICH) = Links { prev, next: None };
        match prev {
            Some(prev) => slab[prev].links(WHICH).next = Some(key),
            None => self.front = Some(key),
        }
        self.len += 1;
    }

    pub(super) fn push_front<T: Node>(&mut self, slab: &mut Slab<T>, key: usize) {
        let next = self.front.replace(key);
        *slab[key].links(WHICH) = Links { prev: None, next };
        match next {
            Some(next) => slab[next].links(WHICH).prev = Some(key),
            None => self.back = Some(key),
        }
        self.len += 1;
    }

    /// Puts `key` before the first element that `comes_after` it, of elements that are in order:
    /// at no cost where that is the end, else at the cost of those before it.
    pub(super) fn insert_before<T: Node>(
        &mut self,
        slab: &mut Slab<T>,
        key: usize,
        comes_after: impl Fn(&T) -> bool,
    ) {
        if !self.back.is_some_and(|last| comes_after(&slab[last])) {
            return self.push_back(slab, key);
        }
        let mut at = self.front;
        while let Some(other) = at.filter(|&other| !comes_after(&slab[other])) {
            at = slab[other].links(WHICH).next;
        }
        // The last one comes after it, so there is one that does.
        let Some(next) = at else { return };
        let prev = slab[next].links(WHICH).prev.replace(key);
        *slab[key].links(WHICH) = Links {
            prev,
            next: Some(next),
        };
        match prev {
            Some(prev) => slab[prev].links(WHICH).next = Some(key),
            None => self.front = Some(key),
        }
        self.len += 1;
    }

    /// Whether `key`, which stands in this list, is one of its first `count` elements. At the cost of
    /// so many.
    pub(super) fn is_among_first<T: Node>(
        &self,
        count: usize,
        slab: &mut Slab<T>,
        key: usize,
    ) -> bool {
        let prev = |&key: &usize| slab[key].links(WHICH).prev;
        let up_to_it = std::iter::successors(Some(key), prev);
        up_to_it.take(count.saturating_add(1)).count() <= count
    }

    /// Its elements, front to back.
    #[cfg(test)]
    pub(super) fn keys<T: Node>(&self, slab: &mut Slab<T>) -> Vec<usize> {
        let next = |&key: &usize| slab[key].links(WHICH).next;
        std::iter::successors(self.front, next).collect()
    }

    /// Takes out `key`, which must stand in this list.
    pub(super) fn remove<T: Node>(&mut self, slab: &mut Slab<T>, key: usize) {
        let Links { prev, next } = std::mem::take(slab[key].links(WHICH));
        match prev {
            Some(prev) => slab[prev].links(WHICH).next = next,
            None => self.front = next,
        }
        match next {
            Some(next) => slab[next].links(WHICH).prev = prev,
            None => self.back = prev,
        }
        self.len -= 1;
    }

    pub(super) fn pop_front<T: Node>(&mut self, slab: &mut Slab<T>) -> Option<usize> {
        let key = self.front?;
        self.remove(slab, key);
        Some(key)
    }

    pub(super) fn pop_back<T: Node>(&mut self, slab: &mut Slab<T>) -> Option<usize> {
        let key = self.back?;
        self.remove(slab, key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(Links);

    impl Node for Item {
        fn links(&mut self, _: usize) -> &mut Links {
            &mut self.0
        }
    }

    #[derive(Clone)]
    struct Numbered(u32, Links);

    impl Node for Numbered {
        fn links(&mut self, _: usize) -> &mut Links {
            &mut self.1
        }
    }

    #[test]
    fn a_list_keeps_its_order_whatever_is_taken_out_of_it() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..5)
            .map(|_| slab.insert(Item(Links::default())))
            .collect();
        let mut list = List::<0>::default();
        for &key in &keys[1..4] {
            list.push_back(&mut slab, key);
        }
        list.push_back(&mut slab, keys[4]);
        list.push_front(&mut slab, keys[0]);
        list.remove(&mut slab, keys[2]);
        assert_eq!(list.len(), 4);
        let mut among = |count, key: usize| list.is_among_first(count, &mut slab, keys[key]);
        assert!(among(1, 0) && among(3, 3) && among(usize::MAX, 4));
        assert!(!among(0, 0) && !among(2, 3), "two stand before it");
        assert_eq!(list.pop_back(&mut slab), Some(keys[4]));
        let rest: Vec<_> = std::iter::from_fn(|| list.pop_front(&mut slab)).collect();
        assert_eq!(
            rest,
            [keys[0], keys[1], keys[3]],
            "what is left keeps its order"
        );
        assert!(list.len() == 0 && list.front().is_none() && list.back().is_none());
    }

    #[test]
    fn what_is_put_in_stands_before_what_comes_after_it() {
        let mut slab = Slab::new();
        let mut list = List::<0>::default();
        for number in [4, 2, 5, 1, 3] {
            let key = slab.insert(Numbered(number, Links::default()));
            list.insert_before(&mut slab, key, |other: &Numbered| other.0 > number);
        }
        let numbers = |keys: Vec<usize>| keys.into_iter().map(|key| slab[key].0).collect();
        let forwards: Vec<_> = numbers(list.keys(&mut slab.clone()));
        assert_eq!(forwards, [1, 2, 3, 4, 5]);
        let mut from_the_back = slab.clone();
        let backwards: Vec<_> = std::iter::from_fn(|| list.pop_back(&mut from_the_back)).collect();
        assert_eq!(numbers(backwards), [5, 4, 3, 2, 1], "both ways");
    }
}

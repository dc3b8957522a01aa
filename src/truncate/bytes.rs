use bytes::Bytes;

use super::cut::{Flow, front};

/// Lets the first `left` bytes pass.
#[derive(Debug)]
pub(super) struct ByteCut {
    left: u64,
}

impl ByteCut {
    pub(super) fn new(limit: u64) -> Self {
        Self { left: limit }
    }

    pub(super) fn cut(&mut self, chunk: Bytes) -> Flow {
        let length = chunk.len() as u64;
        if length < self.left {
            self.left -= length;
            return Flow::More(chunk);
        }
        // No more than the chunk's own length, which is a usize.
        let end = usize::try_from(self.left).unwrap_or(chunk.len());
        self.left = 0;
        Flow::Limit {
            last: front(&chunk, end),
            dropped: end < chunk.len(),
        }
    }

    pub(super) fn bounds(&self, lower: u64, upper: Option<u64>) -> (u64, u64) {
        let upper = upper.unwrap_or(u64::MAX).min(self.left);
        (lower.min(self.left), upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_any_body_overflows_nothing() {
        let mut cut = ByteCut::new(u64::MAX);
        let chunk = Bytes::from_static(b"all of it");
        let flow = cut.cut(chunk.clone());
        assert!(
            matches!(flow, Flow::More(all) if all == chunk),
            "all passes"
        );
        assert_eq!(
            cut.bounds(u64::MAX, None),
            (u64::MAX - 9, u64::MAX - 9),
            "the bounds saturate"
        );
    }

    #[test]
    fn a_small_piece_of_a_large_chunk_is_copied_and_a_large_one_is_not() {
        let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
        let inside = |piece: &Bytes| chunk.as_ptr_range().contains(&piece.as_ptr());
        let cases = [
            (50, false),
            (1024, false),
            (2000, false),
            (16 * 1024, true),
            (65536, true),
        ];
        for (limit, slice) in cases {
            let Flow::Limit { last, .. } = ByteCut::new(limit).cut(chunk.clone()) else {
                panic!("{limit} bytes are within the chunk");
            };
            assert_eq!(
                last.len() as u64,
                limit,
                "the piece is as long as the limit"
            );
            assert_eq!(
                inside(&last),
                slice,
                "{limit} bytes share the chunk's buffer"
            );
        }
    }
}

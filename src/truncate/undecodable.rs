use std::{error::Error as StdError, fmt, io, iter};

/// The content is not what its head says it is: an error of the body's own making.
#[derive(Debug)]
pub(crate) enum Undecodable {
    /// The text is malformed, and [`Invalid::Error`](super::Invalid::Error) asks for it not to be.
    Text,
    /// The bytes are not what their coding says.
    Coding(io::Error),
    /// More was read of a coding than the limit could need.
    TooLong,
}

impl Undecodable {
    /// Whether `error` is one, or comes of one.
    pub(crate) fn is_in(error: &(dyn StdError + 'static)) -> bool {
        iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<Self>())
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "the text is malformed",
            Self::Coding(_) => "the compressed body is broken",
            Self::TooLong => "the compressed body is too long for what it gives",
        })
    }
}

impl StdError for Undecodable {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Coding(error) => Some(error),
            Self::Text | Self::TooLong => None,
        }
    }
}

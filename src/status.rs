//! For tonic: the error as a status.

use std::{
    error::Error as StdError,
    sync::{Arc, OnceLock},
};

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// The error's [code](Error::grpc_code), with its [kind](Error::kind) as the message and nothing that
/// a client must not see. The error itself is the source.
///
/// tonic does the same by itself with an error that comes to it from a client: it looks for a status
/// among the [sources](StdError::source), and there is one.
///
/// ```
/// use tonic::{Code, Status};
/// use tower_upstream::Upstream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_upstream::Error> {
/// let upstream = Upstream::builder().build()?;
/// let error = upstream.get("http://127.0.0.1:1/").await.unwrap_err();
///
/// let found = Status::from_error(error.clone().into());
/// assert_eq!(found.code(), Code::Unavailable);
/// assert_eq!(found.message(), "upstream refused the connection");
/// assert_eq!(Status::from(error).code(), found.code());
/// # Ok(())
/// # }
/// ```
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = of(error.kind());
        status.set_source(Arc::new(error));
        status
    }
}

fn of(kind: ErrorKind) -> Status {
    Status::new(Code::from_i32(kind.grpc_code()), kind.to_string())
}

/// The status among an error's sources: made when it is first asked for, which is seldom.
#[derive(Clone, Default)]
pub(crate) struct Told(OnceLock<Status>);

impl Told {
    /// The error's source: a status, behind which the one that it has follows. One that comes with a
    /// status, as that of a request's body may, knows better.
    pub(crate) fn source<'a>(
        &'a self,
        kind: ErrorKind,
        source: Option<&'a Arc<dyn StdError + Send + Sync>>,
    ) -> &'a (dyn StdError + 'static) {
        match source {
            Some(source) if has_status(&**source) => &**source,
            _ => self.0.get_or_init(|| {
                let mut status = of(kind);
                if let Some(source) = source {
                    status.set_source(source.clone());
                }
                status
            }),
        }
    }
}

fn has_status(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<Status>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tonic_finds_a_status_and_who_looks_for_the_cause_finds_that() {
        let cause = std::io::Error::other("the cause");
        let error = Error::new(ErrorKind::ConnectTimeout).with_source(cause);
        let found = Status::from_error(error.clone().into());
        assert_eq!(
            found.code(),
            Code::Unavailable,
            "never sent, so safe to send again"
        );
        assert_eq!(found.message(), "upstream connect timed out");

        let chain: Vec<_> =
            std::iter::successors(error.source(), |&error| error.source()).collect();
        assert_eq!(chain.len(), 2, "a status, and the cause behind it");
        assert_eq!(chain[1].to_string(), "the cause");
        assert!(
            Error::find(&Status::from(error)).is_some(),
            "and back again"
        );
    }

    #[test]
    fn a_status_that_is_there_already_knows_better() {
        let own = Status::new(Code::OutOfRange, "own");
        let error = Error::new(ErrorKind::RequestBody).with_source(own);
        assert_eq!(Status::from_error(error.into()).code(), Code::OutOfRange);
    }
}

//! The service: each call asks both upstreams.

use bytes::Bytes;
use http_body_util::Empty;
use tonic::{Request, Response, Status, Streaming};
use tower_upstream::{GrpcDeadline, Origin, Upstream};

use crate::proto::{Page, Text, reader_server::Reader, words_client::WordsClient};

/// A page is text, and not a long one.
const MAX_PAGE: usize = 64 * 1024;

/// Reads pages word by word.
pub(crate) struct Pages {
    pub(crate) pages: Origin,
    pub(crate) words: Origin,
}

#[tonic::async_trait]
impl Reader for Pages {
    type ReadStream = Streaming<Text>;

    /// The call keeps its place under the layer's limit, and its connection, until the stream ends.
    async fn read(&self, request: Request<Page>) -> Result<Response<Streaming<Text>>, Status> {
        let upstream: Upstream = request
            .extensions()
            .get()
            .cloned()
            .ok_or_else(|| Status::internal("no UpstreamLayer around this service"))?;
        let deadline = request.extensions().get::<GrpcDeadline>().copied();
        let path = request.into_inner().path;

        let text = self.fetch(&upstream, &path, deadline).await?;
        let mut words = Request::new(Text { text });
        if let Some(deadline) = deadline {
            words.extensions_mut().insert(deadline);
        }
        WordsClient::new(upstream.at(self.words.clone()))
            .split(words)
            .await
    }
}

impl Pages {
    async fn fetch(
        &self,
        upstream: &Upstream,
        path: &str,
        deadline: Option<GrpcDeadline>,
    ) -> Result<String, Status> {
        let mut request = http::Request::get(format!("{}{path}", self.pages))
            .body(Empty::<Bytes>::new())
            .map_err(|_| Status::invalid_argument("not a path"))?;
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let response = upstream.send(request).await?;
        if !response.status().is_success() {
            return Err(Status::not_found(response.status().to_string()));
        }
        Ok(response.into_body().text(MAX_PAGE).await?)
    }
}

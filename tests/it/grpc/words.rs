//! The code that the example generates from its `words.proto`, and an upstream that does what the
//! words it is sent say.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{Server, server::TcpIncoming},
};
use tower_upstream::{AtOrigin, Origin, Upstream};

pub(crate) use self::proto::{
    Text,
    words_client::WordsClient,
    words_server::{Words, WordsServer},
};
use self::proto::{
    reader_client::ReaderClient,
    reader_server::{Reader, ReaderServer},
};

#[allow(warnings, reason = "generated")]
pub(crate) mod proto {
    include!("../../../examples/tonic_service/generated/words.rs");
}

/// What a failure says.
pub(crate) const REASON: &str = "no wörd: 100 %";

/// Fails at the word `fail`, goes no further at `stall`.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    /// Streams that it is still at work on.
    live: Arc<AtomicUsize>,
}

struct Live(Arc<AtomicUsize>);

impl Scripted {
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    fn begin(&self) -> Live {
        self.live.fetch_add(1, Ordering::SeqCst);
        Live(self.live.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Words that are said one by one, and the stream of them.
pub(crate) fn talk() -> (mpsc::UnboundedSender<Text>, impl Stream<Item = Text> + Send) {
    let (sender, words) = mpsc::unbounded_channel();
    let words = stream::unfold(words, async |mut words| Some((words.recv().await?, words)));
    (sender, words)
}

pub(crate) fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

async fn obey(word: Text) -> Result<Text, Status> {
    match word.text.as_str() {
        "fail" => {
            let mut metadata = MetadataMap::new();
            metadata.insert("x-word", "fail".parse().unwrap());
            Err(Status::with_metadata(Code::DataLoss, REASON, metadata))
        }
        "stall" => std::future::pending().await,
        _ => Ok(word),
    }
}

#[tonic::async_trait]
impl Words for Scripted {
    type SplitStream = BoxStream<'static, Result<Text, Status>>;
    type ShoutStream = BoxStream<'static, Result<Text, Status>>;

    async fn count(&self, request: Request<Text>) -> Result<Response<proto::Number>, Status> {
        let text = obey(request.into_inner()).await?.text;
        let number = text.split(' ').count() as u64;
        Ok(Response::new(proto::Number { number }))
    }

    async fn split(&self, request: Request<Text>) -> Result<Response<Self::SplitStream>, Status> {
        let live = self.begin();
        let words: Vec<_> = request.into_inner().text.split(' ').map(text).collect();
        let words = stream::iter(words).then(obey).map(move |word| {
            let _at_work = &live;
            word
        });
        Ok(Response::new(words.boxed()))
    }

    async fn join(&self, request: Request<Streaming<Text>>) -> Result<Response<Text>, Status> {
        let _at_work = self.begin();
        let mut words = request.into_inner();
        let mut joined = String::new();
        while let Some(word) = words.message().await? {
            joined += &obey(word).await?.text;
        }
        Ok(Response::new(text(joined)))
    }

    async fn shout(
        &self,
        request: Request<Streaming<Text>>,
    ) -> Result<Response<Self::ShoutStream>, Status> {
        let live = self.begin();
        let words = request.into_inner().then(async |word| obey(word?).await);
        let loud = words.map(move |word| {
            let _at_work = &live;
            word.map(|word| text(word.text.to_uppercase()))
        });
        Ok(Response::new(loud.boxed()))
    }
}

/// Another service, which says "read".
struct Reading;

#[tonic::async_trait]
impl Reader for Reading {
    type ReadStream = stream::Iter<std::array::IntoIter<Result<Text, Status>, 1>>;

    async fn read(&self, _: Request<proto::Page>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(stream::iter([Ok(text("read"))])))
    }
}

pub(crate) fn reader() -> ReaderServer<impl Reader> {
    ReaderServer::new(Reading)
}

/// What the other service says.
pub(crate) async fn read(upstream: &Upstream, origin: &Origin) -> String {
    let mut reader = ReaderClient::new(upstream.at(origin.clone()));
    let page = reader.read(proto::Page::default()).await.unwrap();
    page.into_inner().message().await.unwrap().unwrap().text
}

/// Messages of up to 16 MiB.
pub(crate) fn server(words: Scripted) -> WordsServer<Scripted> {
    WordsServer::new(words)
        .max_decoding_message_size(16 << 20)
        .max_encoding_message_size(16 << 20)
}

/// By tonic's own server.
pub(crate) async fn serve(words: Scripted) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = origin(listener.local_addr().unwrap());
    let server = Server::builder().add_service(server(words));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    origin
}

pub(crate) fn origin(address: SocketAddr) -> Origin {
    format!("http://{address}").parse().unwrap()
}

pub(crate) fn client(upstream: &Upstream, origin: &Origin) -> WordsClient<AtOrigin> {
    WordsClient::new(upstream.at(origin.clone())).max_decoding_message_size(16 << 20)
}

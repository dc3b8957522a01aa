//! What a generated client says and hears. Its channel is the handle, at an origin.

use futures_util::{TryStreamExt, stream};
use tonic::{Request, Status};
use tower_upstream::{Origin, Upstream};

use crate::proto::{Page, Text, reader_client::ReaderClient, words_client::WordsClient};

/// A page that is there, within a deadline, and one that is not.
pub(crate) async fn read(upstream: &Upstream, origin: &Origin) -> Result<(), Status> {
    let mut reader = ReaderClient::new(upstream.at(origin.clone()));
    let mut request = Request::new(Page { path: "/".into() });
    request.set_timeout(std::time::Duration::from_secs(5));
    let words = reader.read(request).await?.into_inner();
    let words: Vec<_> = words.map_ok(|word| word.text).try_collect().await?;
    println!("read: {}", words.join(" | "));

    let missing = Page {
        path: "/missing".into(),
    };
    if let Err(status) = reader.read(missing).await {
        println!("read: {:?}, {}", status.code(), status.message());
    }
    Ok(())
}

/// One call of each kind.
pub(crate) async fn every_kind(upstream: &Upstream, origin: &Origin) -> Result<(), Status> {
    let mut client = WordsClient::new(upstream.at(origin.clone()));
    let text = |text: &str| Text { text: text.into() };

    let count = client.count(text("three words here")).await?.into_inner();
    println!("count: {}", count.number);

    let split = client.split(text("one by one")).await?.into_inner();
    let words: Vec<_> = split.map_ok(|word| word.text).try_collect().await?;
    println!("split: {words:?}");

    let joined = client.join(stream::iter(["all", "as", "one"].map(text)));
    println!("join: {}", joined.await?.into_inner().text);

    let shouted = client.shout(stream::iter(["both", "ways"].map(text)));
    let words: Vec<_> = shouted
        .await?
        .into_inner()
        .map_ok(|word| word.text)
        .try_collect()
        .await?;
    println!("shout: {words:?}");
    Ok(())
}

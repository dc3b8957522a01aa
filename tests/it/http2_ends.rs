//! How HTTP/2 connections and streams end: GOAWAY, resets, idle timeouts, drains, TLS.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tower_upstream::{ErrorKind, Limits, Upstream};

use crate::support::{eventually, sockets};

type Connection = h2::server::Connection<TcpStream, Bytes>;
type Stream = (Request<RecvStream>, SendResponse<Bytes>);

/// A server whose every connection is handed to a script, once the handshake is done.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Server {
    async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Connection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let count = accepted.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut scripts = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let connection = h2::server::handshake(socket).await.unwrap();
                scripts.spawn(script(number, connection));
            }
        });
        Self {
            address,
            accepted,
            _accepting: accepting,
        }
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn answer((request, mut respond): Stream) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    let text = request.uri().path().to_owned();
    body.send_data(text.into(), true).unwrap();
}

fn client() -> Upstream {
    Upstream::builder().http2_prior_knowledge().build().unwrap()
}

async fn text(upstream: &Upstream, uri: String) -> Result<String, tower_upstream::Error> {
    upstream.get(uri).await?.into_body().text(1000).await
}

#[tokio::test]
async fn after_a_goaway_an_open_stream_finishes_and_the_next_request_goes_elsewhere() {
    let server = Server::start(|_, mut connection| async move {
        while let Some(stream) = connection.accept().await {
            let stream = stream.unwrap();
            if stream.0.uri().path() == "/held" {
                let (_, mut respond) = stream;
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                connection.graceful_shutdown();
                // The connection must be polled on for its GOAWAY to go out and the stream to end.
                tokio::spawn(async move {
                    sleep(Duration::from_millis(100)).await;
                    body.send_data("finished".into(), true).unwrap();
                });
            } else {
                answer(stream);
            }
        }
    })
    .await;
    let upstream = client();
    let held = upstream.get(server.uri("/held")).await.unwrap();
    // Give the GOAWAY the time to arrive, in either order with what follows.
    sleep(Duration::from_millis(20)).await;
    for i in 0..5 {
        let path = format!("/{i}");
        assert_eq!(
            text(&upstream, server.uri(&path)).await.unwrap(),
            path,
            "nothing is lost"
        );
    }
    assert_eq!(held.into_body().text(100).await.unwrap(), "finished");
    assert_eq!(
        server.accepted(),
        2,
        "one connection has gone, one has taken over"
    );
    eventually("the first connection closes", || {
        upstream.stats().total.open == 1
    })
    .await;
}

#[tokio::test]
async fn a_refused_stream_is_told_as_not_looked_at() {
    let server = Server::start(|_, mut connection| async move {
        while let Some(stream) = connection.accept().await {
            let (_, mut respond) = stream.unwrap();
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    })
    .await;
    let upstream = client();
    let error = text(&upstream, server.uri("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset, "{error:?}");
    assert!(
        !error.was_sent(),
        "the upstream says it has not looked at it"
    );
    assert_eq!(upstream.stats().total.open, 1, "the connection lives on");
}

#[tokio::test]
async fn a_reset_stream_fails_alone() {
    let server = Server::start(|_, mut connection| async move {
        let mut slow = JoinSet::new();
        while let Some(stream) = connection.accept().await {
            let (request, mut respond) = stream.unwrap();
            match request.uri().path() {
                "/head" => respond.send_reset(Reason::INTERNAL_ERROR),
                "/body" => {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data("half".into(), false).unwrap();
                    slow.spawn(async move {
                        sleep(Duration::from_millis(20)).await;
                        body.send_reset(Reason::INTERNAL_ERROR);
                    });
                }
                _ => {
                    slow.spawn(async move {
                        sleep(Duration::from_millis(50)).await;
                        answer((request, respond));
                    });
                }
            }
        }
    })
    .await;
    let upstream = client();
    let (head, body, sibling) = tokio::join!(
        text(&upstream, server.uri("/head")),
        text(&upstream, server.uri("/body")),
        text(&upstream, server.uri("/sibling")),
    );
    let error = head.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset, "{error:?}");
    assert!(error.was_sent());
    assert_eq!(body.unwrap_err().kind(), ErrorKind::BodyIncomplete);
    assert_eq!(sibling.unwrap(), "/sibling");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_get_on_a_connection_that_dies_is_sent_once_more_and_a_post_is_not() {
    let server = Server::start(|number, mut connection| async move {
        let first = connection.accept().await.unwrap().unwrap();
        answer(first);
        if number == 0 {
            // The second request is read, and the socket dropped in its face.
            let _second = connection.accept().await;
            return;
        }
        while let Some(stream) = connection.accept().await {
            answer(stream.unwrap());
        }
    })
    .await;
    let upstream = client();
    text(&upstream, server.uri("/warm")).await.unwrap();
    assert_eq!(text(&upstream, server.uri("/get")).await.unwrap(), "/get");
    assert_eq!(server.accepted(), 2, "on a second connection");

    let fragile = Server::start(|_, mut connection| async move {
        answer(connection.accept().await.unwrap().unwrap());
        let _second = connection.accept().await;
    })
    .await;
    text(&upstream, fragile.uri("/warm")).await.unwrap();
    let post = Request::post(fragile.uri("/"))
        .body("once".to_owned())
        .unwrap();
    let error = upstream.send(post).await.unwrap_err();
    assert!(error.was_sent(), "{error:?}");
    assert_eq!(fragile.accepted(), 1, "a POST is never sent twice");
}

#[tokio::test]
async fn an_idle_connection_expires_and_a_stream_that_is_open_outlives_the_timeout() {
    let server = Server::start(|_, mut connection| async move {
        let mut slow = JoinSet::new();
        while let Some(Ok(stream)) = connection.accept().await {
            slow.spawn(async move {
                sleep(Duration::from_millis(200)).await;
                answer(stream);
            });
        }
    })
    .await;
    let upstream = Upstream::builder()
        .http2_prior_knowledge()
        .limits(Limits::new().idle_timeout(Duration::from_millis(50)))
        .build()
        .unwrap();
    assert_eq!(text(&upstream, server.uri("/slow")).await.unwrap(), "/slow");
    eventually("the idle connection is closed", || {
        sockets::connected_to(server.address) == 0 && upstream.stats().total.open == 0
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_streams_finish_and_aborts_the_rest_at_its_deadline() {
    let server = Server::start(|_, mut connection| async move {
        let mut slow = JoinSet::new();
        while let Some(Ok(stream)) = connection.accept().await {
            if stream.0.uri().path() == "/never" {
                slow.spawn(async move {
                    let _held = stream;
                    std::future::pending::<()>().await;
                });
            } else {
                slow.spawn(async move {
                    sleep(Duration::from_millis(100)).await;
                    answer(stream);
                });
            }
        }
    })
    .await;
    let upstream = client();
    let slow = tokio::spawn({
        let (upstream, uri) = (upstream.clone(), server.uri("/slow"));
        async move { text(&upstream, uri).await }
    });
    let never = tokio::spawn(upstream.get(server.uri("/never")));
    eventually("both are under way", || upstream.stats().total.in_use == 1).await;
    sleep(Duration::from_millis(20)).await;
    let drained = upstream.drain(Duration::from_millis(500)).await;
    assert_eq!(drained.aborted, 1, "the one that would never end");
    assert_eq!(slow.await.unwrap().unwrap(), "/slow");
    assert_eq!(
        never.await.unwrap().unwrap_err().kind(),
        ErrorKind::Draining
    );
    assert_eq!(
        sockets::connected_to(server.address),
        0,
        "no socket is left"
    );
    let refused = upstream.get(server.uri("/")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Draining);
}

#[tokio::test]
async fn a_ping_that_is_not_answered_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Settings, and then silence: what a peer looks like that has vanished.
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut socket, _) = listener.accept().await.unwrap();
        socket
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        sleep(Duration::from_secs(30)).await;
    });
    let upstream = Upstream::builder()
        .http2_prior_knowledge()
        .http2_keep_alive(Duration::from_millis(50), Duration::from_millis(50))
        .timeouts(tower_upstream::Timeouts::new(Duration::from_secs(20)))
        .build()
        .unwrap();
    let error = upstream
        .get(format!("http://{address}/"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    eventually("the socket is closed", || {
        sockets::connected_to(address) == 0
    })
    .await;
    server.abort();
}

#[tokio::test]
async fn pings_that_are_as_good_as_never_sent_disturb_nothing() {
    let server = Server::start(|_, mut connection| async move {
        while let Some(Ok(stream)) = connection.accept().await {
            answer(stream);
        }
    })
    .await;
    let upstream = Upstream::builder()
        .http2_prior_knowledge()
        .http2_keep_alive(Duration::MAX, Duration::MAX)
        .build()
        .unwrap();
    for path in ["/first", "/second"] {
        assert_eq!(text(&upstream, server.uri(path)).await.unwrap(), path);
    }
    assert_eq!(server.accepted(), 1, "the connection is kept");
}

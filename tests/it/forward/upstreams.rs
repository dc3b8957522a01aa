//! Groups C and J of the fault cases, as they are seen through the proxy: malicious or broken
//! upstreams.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tower_upstream::Origin;

use super::support::{
    Echo, PATIENCE, forward, forward_http1, forward_impatiently, fronts, get, lines, send, status,
};
use crate::{
    faults,
    support::{Server, ms, sized, trial::Trial},
};

#[tokio::test]
async fn c_a_head_that_is_no_http_is_a_502_and_nothing_of_it_is_forwarded() {
    for head in [
        "garbage\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 000 X\r\n\r\n",
        "HTTP/1.1 1000 X\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nx: a\0secret\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: secret\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nset-cookie: a=b\rlocation: secret\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: secret\r\n\r\n",
        "",
    ] {
        let server = Server::start(move |mut peer| async move {
            peer.request().await?;
            peer.write(head).await
        })
        .await;
        for front in fronts(forward(&server).proxy_status(true)).await {
            let response = get(front, "").await;
            assert_eq!(status(&response), "502", "{head:?}: {response}");
            assert!(!response.contains("secret"), "{head:?}: {response}");
            let text = response.rsplit("\r\n\r\n").next().unwrap();
            assert!(
                text.starts_with("upstream "),
                "{head:?}: the body says what it was: {text}"
            );
            assert!(
                !response.contains("127.0.0.1"),
                "no address is told: {response}"
            );
            assert!(lines(&response, "proxy-status")[0].contains("; error="));
        }
    }
}

#[tokio::test]
async fn c5_a_head_without_bounds_is_a_502() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\n").await?;
        loop {
            peer.write(format!("x: {}\r\n", "y".repeat(8000))).await?;
        }
    })
    .await;
    for front in fronts(forward(&server)).await {
        assert_eq!(status(&get(front, "").await), "502");
    }
}

#[tokio::test]
async fn c7_an_upstream_that_says_nothing_is_a_504_and_a_dead_one_a_502() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    for front in fronts(forward_impatiently(&server)).await {
        let response = get(front, "").await;
        assert_eq!(status(&response), "504", "{response}");
        assert!(response.ends_with("upstream read timed out"), "{response}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for front in fronts(super::support::upstream().forward_to(origin.parse().unwrap())).await {
        let response = get(front, "").await;
        assert_eq!(status(&response), "502", "{response}");
        let head = "content-type: application/grpc+proto\r\nte: trailers\r\n";
        let response = get(front, head).await;
        assert_eq!(
            status(&response),
            "200",
            "a gRPC client is told in its terms: {response}"
        );
        assert_eq!(lines(&response, "grpc-status"), ["14"]);
        assert_eq!(
            lines(&response, "grpc-message"),
            ["upstream refused the connection"]
        );
    }
}

#[tokio::test]
async fn c8_only_what_may_be_sent_twice_is_when_a_kept_connection_turns_out_dead() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write(sized("ok")).await?;
        // The first connection takes another request, and never answers it.
        if peer.number == 0 {
            peer.request().await?;
        }
        Ok(())
    })
    .await;
    let front = fronts(forward(&server)).await[1];
    assert_eq!(status(&get(front, "").await), "200");
    assert_eq!(status(&get(front, "").await), "200", "a GET is sent again");
    assert_eq!(server.requests(), 3);

    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write(sized("ok")).await?;
        peer.request().await?;
        Ok(())
    })
    .await;
    let front = fronts(forward(&server)).await[0];
    assert_eq!(status(&get(front, "").await), "200");
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
    assert_eq!(status(&send(front, post).await), "502", "a POST is not");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn c11_a_200_to_an_upgrade_is_a_response_like_any_other() {
    let echo = Echo::start().await;
    for front in fronts(echo.forward()).await {
        let offer = "connection: upgrade\r\nupgrade: websocket\r\n";
        let response = get(front, offer).await;
        assert_eq!(status(&response), "200");
        assert!(response.ends_with("ok"), "no tunnel is opened: {response}");
        assert_eq!(lines(&response, "upgrade"), [""; 0]);
    }
    echo.over().await;
}

#[tokio::test]
async fn c14_a_refusal_is_forwarded_before_the_body_is_asked_for_and_the_next_request_works() {
    let echo = Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await? {
            if head.contains("expect: 100-continue") {
                peer.write("HTTP/1.1 417 No\r\ncontent-length: 2\r\n\r\nno")
                    .await?;
            } else {
                peer.write(sized("ok")).await?;
            }
        }
        Ok(())
    })
    .await;
    for front in fronts(forward(&echo)).await {
        let request =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
        let mut socket = TcpStream::connect(front).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = [0; 1024];
        let n = timeout(PATIENCE, socket.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        let response = str::from_utf8(&bytes[..n]).unwrap();
        assert_eq!(
            status(response),
            "417",
            "the first that comes is the refusal: {response}"
        );
        for _ in 0..3 {
            assert_eq!(status(&get(front, "").await), "200");
        }
    }
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_once_the_upstream_has_asked() {
    let server = Server::start(|mut peer| async move {
        assert!(peer.head().await?.unwrap().contains("expect: 100-continue"));
        peer.write("HTTP/1.1 103 Early Hints\r\n\r\n").await?;
        let unasked = timeout(ms(100), peer.stream.read_u8()).await;
        assert!(unasked.is_err(), "hints do not ask for it");
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await?;
        let mut body = [0; 5];
        peer.stream.read_exact(&mut body).await?;
        peer.write(sized(body)).await
    })
    .await;
    for front in fronts(forward(&server)).await {
        let start = Instant::now();
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\
            connection: close\r\n\r\n";
        let mut socket = TcpStream::connect(front).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        timeout(PATIENCE, socket.read_exact(&mut interim))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        socket.write_all(b"hello").await.unwrap();
        assert!(super::support::rest(&mut socket).await.ends_with("hello"));
        assert!(
            start.elapsed() < ms(1000),
            "the upstream need not be waited for"
        );
    }
}

#[tokio::test]
async fn j1_j2_each_answer_belongs_to_its_request_whatever_else_the_upstream_sends() {
    let trial = Trial::start(faults::builder()).await;
    let server = trial
        .faulty(|mut peer, request| async move {
            let mut twice = sized(request.path());
            twice.extend(sized("/another's"));
            peer.write(twice).await?;
            Ok(peer)
        })
        .await;
    let origin: Origin = server.uri("/").parse().unwrap();
    for front in fronts(trial.upstream.forward_to(origin)).await {
        for n in 0..50 {
            let path = format!("/fault/{n}");
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let response = send(front, request).await;
            let is_its_own = response.ends_with(&format!("\r\n\r\n{path}"));
            assert!(is_its_own, "{path}: {response}");
        }
    }
    trial.over([server]).await;
}

#[tokio::test]
async fn j3_j6_nothing_that_is_for_one_hop_or_is_bait_comes_back() {
    let echo = Echo::saying(|_| {
        b"HTTP/1.1 200 OK\r\nconnection: X-Named, keep-alive, content-type\r\nx-named: 1\r\n\
          content-type: text/plain\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\n\
          proxy-authenticate: Basic\r\nupgrade: h2c\r\nalt-svc: h3=\":443\"\r\nte: trailers\r\n\
          x-kept: 1\r\ncontent-length: 2\r\n\r\nok"
            .to_vec()
    })
    .await;
    for front in fronts(echo.forward().name("edge")).await {
        let response = get(front, "").await;
        assert!(response.ends_with("\r\n\r\nok"), "{response}");
        for gone in [
            "x-named",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "upgrade",
            "alt-svc",
            "te",
            "transfer-encoding",
            "content-type",
        ] {
            assert_eq!(lines(&response, gone), [""; 0], "{gone}: {response}");
        }
        assert_eq!(lines(&response, "x-kept"), ["1"]);
        assert_eq!(lines(&response, "via"), ["1.1 edge"]);
        assert_eq!(lines(&response, "content-length"), ["2"]);
    }
    echo.over().await;
}

#[tokio::test]
async fn j7_j8_what_is_wrong_in_grpc_is_the_clients_to_judge() {
    for answer in [
        "HTTP/1.1 200 OK\r\ngrpc-status: 99999\r\ngrpc-status: 0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<p/>",
    ] {
        let echo = Echo::saying(move |_| answer.into()).await;
        for front in fronts(forward_http1(&echo.server)).await {
            let response = get(front, "content-type: application/grpc\r\n").await;
            assert_eq!(
                status(&response),
                "200",
                "it is passed on as it came: {response}"
            );
            let ours = lines(&response, "grpc-status").len();
            assert_eq!(ours, lines(answer, "grpc-status").len(), "nothing is added");
        }
        echo.over().await;
    }
}

#[tokio::test]
async fn the_answer_has_our_version_whatever_the_upstreams() {
    let echo = Echo::saying(|_| b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()).await;
    for front in fronts(echo.forward().name("edge")).await {
        let response = get(front, "").await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(lines(&response, "via"), ["1.0 edge"]);
    }
    echo.over().await;
}

//! Group I of the fault cases: malicious clients.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower_upstream::ForwardedHeaders;

use super::support::{Echo, axum, bare, fronts, get, lines, send, status};
use crate::{
    faults,
    support::{front, trial::Trial},
};

#[tokio::test]
async fn i2_connection_takes_nothing_away_that_the_proxy_says() {
    let echo = Echo::start().await;
    let forward = echo
        .forward()
        .name("edge")
        .client_address(|info: &ConnectInfo<SocketAddr>| info.ip());
    let front = axum(forward).await;
    let named = "connection: X-Forwarded-For, HOST, content-length\r\n\
        Connection: te,via, x-FORWARDED-proto ,forwarded, secret\r\n\
        secret: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: keep-alive\r\nte: trailers, gzip\r\n\
        upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nproxy-authorization: Basic eA==\r\n";
    for upgrade in ["", "upgrade: websocket\r\nconnection: upgrade\r\n"] {
        let response = get(front, &format!("{named}{upgrade}")).await;
        assert_eq!(status(&response), "200");
        let head = echo.one().head;
        assert_eq!(lines(&head, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(lines(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(lines(&head, "x-forwarded-host"), ["front.test"]);
        assert_eq!(lines(&head, "via"), ["1.1 edge"]);
        assert_eq!(
            lines(&head, "te"),
            ["trailers"],
            "of TE, only this is for the upstream"
        );
        assert_eq!(lines(&head, "host"), [echo.server.address.to_string()]);
        for gone in [
            "secret",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "http2-settings",
        ] {
            assert_eq!(lines(&head, gone), [""; 0], "{gone} was for this hop only");
        }
        let expected: &[&str] = if upgrade.is_empty() {
            &[]
        } else {
            &["websocket"]
        };
        assert_eq!(
            lines(&head, "upgrade"),
            expected,
            "never h2c: nobody would look into it"
        );
    }
    for framing in ["content-length: 5", "transfer-encoding: chunked"] {
        let named = "connection: content-length, transfer-encoding, close";
        let body = if framing.ends_with('5') {
            "hello"
        } else {
            "5\r\nhello\r\n0\r\n\r\n"
        };
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{named}\r\n{framing}\r\n\r\n");
        assert_eq!(status(&send(front, head + body).await), "200");
        let request = echo.one();
        assert_eq!(
            request.body, b"hello",
            "nor how long it is: {}",
            request.head
        );
    }
    echo.over().await;
}

#[tokio::test]
async fn i3_what_a_client_says_of_itself_is_replaced_or_appended_to_on_one_line() {
    let echo = Echo::start().await;
    let spoof = "x-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nforwarded: for=6.6.6.6\r\n\
        x-real-ip: 6.6.6.6\r\nx-forwarded-host: evil\r\nx_forwarded_for: 6.6.6.6\r\n";
    let address = |info: &ConnectInfo<SocketAddr>| info.ip();

    let front = axum(echo.forward().client_address(address)).await;
    get(front, spoof).await;
    let head = echo.one().head;
    assert_eq!(lines(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(lines(&head, "x-forwarded-host"), ["front.test"]);
    assert_eq!(
        lines(&head, "forwarded"),
        ["for=127.0.0.1;host=\"front.test\";proto=http"]
    );
    assert!(
        !head.contains("6.6.6.6") && !head.contains("evil"),
        "{head}"
    );

    let append = echo.forward().client_address(address);
    let front = axum(
        append
            .forwarded_headers(ForwardedHeaders::Append)
            .https(true),
    )
    .await;
    get(front, spoof).await;
    let head = echo.one().head;
    assert_eq!(
        lines(&head, "x-forwarded-for"),
        ["6.6.6.6, 7.7.7.7, 127.0.0.1"]
    );
    assert_eq!(lines(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(lines(&head, "forwarded").len(), 1, "one line: {head}");

    let front = bare(echo.forward().forwarded_headers(ForwardedHeaders::Remove)).await;
    get(front, spoof).await;
    let head = echo.one().head.to_lowercase();
    assert!(
        !head.contains("forwarded") && !head.contains("6.6.6.6"),
        "{head}"
    );
    echo.over().await;
}

#[tokio::test]
async fn i4_no_control_character_gets_through() {
    let echo = Echo::start().await;
    for front in fronts(echo.forward()).await {
        for request in [
            "GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a\rb HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
            "G\0T / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb: c\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n folded: c\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx\0y: a\r\n\r\n",
        ] {
            let response = send(front, request).await;
            assert_eq!(status(&response), "400", "{request:?}: {response}");
            assert_eq!(echo.take().len(), 0, "{request:?} reaches no upstream");
        }
    }
    echo.over().await;
}

#[tokio::test]
async fn i5_a_host_that_can_be_read_in_two_ways_is_refused() {
    let echo = Echo::start().await;
    for front in fronts(echo.forward()).await {
        for (target, hosts) in [
            ("/", "host: a\r\nhost: b\r\n"),
            ("/", "host: a\r\nhost: a\r\n"),
            ("/", ""),
            ("/", "host: a@b\r\n"),
            ("/", "host: a,b\r\n"),
            ("/", "host: a/b\r\n"),
            ("/", "host: [fe80::1%25eth0]\r\n"),
            ("/", "host: xn--example-.org\r\n"),
            ("/", "host: a:99999\r\n"),
            ("http://a@b/", "host: b\r\n"),
            ("http://b/", "host: a\r\n"),
            ("ftp://b/", "host: b\r\n"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
            let response = send(front, request).await;
            assert_eq!(status(&response), "400", "{target} {hosts:?}: {response}");
            assert_eq!(
                lines(&response, "content-type"),
                ["text/plain; charset=utf-8"]
            );
            assert_eq!(
                echo.take().len(),
                0,
                "{target} {hosts:?} reaches no upstream"
            );
        }
    }
    echo.over().await;
}

#[tokio::test]
async fn i7_a_head_that_is_not_complete_holds_no_connection() {
    let echo = Echo::start().await;
    for front in fronts(echo.forward()).await {
        let mut slow = Vec::new();
        for _ in 0..10 {
            let mut socket = TcpStream::connect(front).await.unwrap();
            let half = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n";
            socket.write_all(half).await.unwrap();
            slow.push(socket);
        }
        assert_eq!(status(&get(front, "").await), "200", "others are served");
        assert_eq!(echo.take().len(), 1, "and nobody else has come through");
        assert_eq!(echo.server.peak(), 1);
    }
    echo.over().await;
}

#[tokio::test]
async fn i8_unusual_methods_and_targets_are_defined() {
    let echo = Echo::start().await;
    let front = bare(echo.forward()).await;
    let ask = async |line: &str, rest: &str| {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{rest}");
        send(front, request).await
    };
    for (line, rest) in [
        ("CONNECT a:443", "\r\n"),
        ("CONNECT a:443", "content-length: 5\r\n\r\nhello"),
        ("TRACE /", "\r\n"),
    ] {
        let response = ask(line, rest).await;
        assert!(
            matches!(status(&response), "501" | "400"),
            "{line} is refused: {response}"
        );
        assert_eq!(echo.take().len(), 0);
    }

    ask("GET /sized", "content-length: 5\r\n\r\nhello").await;
    let request = echo.one();
    assert_eq!((&*request.body, request.path()), (&b"hello"[..], "/sized"));

    ask(
        "GET /chunked",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(
        echo.one().body,
        b"hello",
        "a GET's body is forwarded, however it is framed"
    );

    ask("OPTIONS *", "\r\n").await;
    assert_eq!(echo.one().path(), "*", "it asks the whole server");
    assert_eq!(status(&ask("GET *", "\r\n").await), "400");

    ask("GET http://a/absolute?x", "\r\n").await;
    let request = echo.one();
    assert_eq!(
        request.path(),
        "/absolute?x",
        "it always goes to the one origin"
    );
    assert_eq!(lines(&request.head, "x-forwarded-host"), ["a"]);

    ask("GET //evil.test/%2e%2E/x?a=%00&b;c", "\r\n").await;
    assert_eq!(
        echo.one().path(),
        "//evil.test/%2e%2E/x?a=%00&b;c",
        "to the byte"
    );

    let response = ask("OPTIONS /x", "max-forwards: 0\r\n\r\n").await;
    assert_eq!(
        status(&response),
        "200",
        "it was meant for the proxy: {response}"
    );
    assert_eq!(echo.take().len(), 0);
    ask("OPTIONS /x", "max-forwards: 7\r\n\r\n").await;
    assert_eq!(lines(&echo.one().head, "max-forwards"), ["6"]);
    echo.over().await;
}

#[tokio::test]
async fn i9_a_loop_ends_after_one_round() {
    let trial = Trial::start(faults::builder()).await;
    let (listener, address) = front::listen().await;
    trial.count_sockets_to(address);
    let itself = format!("http://{address}").parse().unwrap();
    let forward = trial.upstream.forward_to(itself).proxy_status(true);
    let app = axum::Router::new().fallback_service(forward.name("edge"));
    front::router_on(listener, app);

    let response = get(address, "").await;
    assert_eq!(status(&response), "502", "{response}");
    assert!(
        response.contains("the request has come back to this proxy"),
        "{response}"
    );
    assert_eq!(
        lines(&response, "proxy-status"),
        ["\"edge\"; error=proxy_loop_detected"]
    );
    assert_eq!(trial.upstream.stats().opened, 1, "it went round once");
    trial.over([]).await;
}

#[tokio::test]
async fn two_proxies_in_a_row_are_no_loop() {
    let echo = Echo::start().await;
    let inner = axum(echo.forward()).await;
    let outer = super::support::upstream().forward_to(format!("http://{inner}").parse().unwrap());
    let outer = bare(outer).await;
    assert_eq!(status(&get(outer, "").await), "200");
    let head = echo.one().head;
    assert_eq!(
        lines(&head, "via").len(),
        2,
        "both have left their names: {head}"
    );
    echo.over().await;
}

#[tokio::test]
async fn the_host_is_the_origins_or_by_choice_the_clients() {
    let echo = Echo::start().await;
    get(axum(echo.forward().keep_host(true)).await, "").await;
    assert_eq!(lines(&echo.one().head, "host"), ["front.test"]);
    echo.over().await;
}

#[tokio::test]
async fn what_the_server_adds_last_cannot_be_named_away() {
    let echo = Echo::start().await;
    let forward = echo.forward().on_request(|head| {
        head.headers.insert("x-user", "alice".try_into().unwrap());
    });
    get(
        axum(forward).await,
        "connection: x-user\r\nx-user: mallory\r\n",
    )
    .await;
    assert_eq!(lines(&echo.one().head, "x-user"), ["alice"]);
    echo.over().await;
}

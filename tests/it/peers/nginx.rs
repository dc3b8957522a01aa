//! `Forward` before nginx.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version, request::Builder};
use tower_upstream::{Gather, Truncate, Upstream};

use super::support::{Nginx, noise};
use crate::{
    forward::{axum, in_version},
    support::{
        client::{self, Client, PAIRS, Whole},
        sockets,
    },
};

/// The answer to one request, for each pair of versions.
async fn ask_all(nginx: &Nginx, request: impl Fn() -> Builder, body: &Bytes) -> Vec<Whole> {
    let mut answers = Vec::new();
    for (client, upstream) in PAIRS {
        let front = axum(nginx.forward(upstream)).await;
        answers.push(client::ask(front, client, request(), body.clone()).await);
    }
    answers
}

async fn get_all(nginx: &Nginx, path: &str, fields: &[(&str, &str)]) -> Vec<Whole> {
    let request = || {
        let request = Request::get(path);
        fields.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    };
    ask_all(nginx, request, &Bytes::new()).await
}

#[tokio::test]
async fn a_page_comes_with_its_length_and_a_head_without_the_page() {
    let Some(nginx) = Nginx::start("") else {
        return;
    };
    nginx.file("page.txt", "hello");
    for page in get_all(&nginx, "/page.txt", &[]).await {
        assert_eq!(page.head.status, 200);
        assert_eq!(page.body, "hello");
        assert_eq!(page.field("content-length"), Some("5"));
        assert!(page.field("etag").is_some() && page.field("last-modified").is_some());
    }
    let heads = ask_all(&nginx, || Request::head("/page.txt"), &Bytes::new()).await;
    for head in heads {
        assert_eq!(head.head.status, 200);
        assert_eq!(head.field("content-length"), Some("5"), "of the page");
        assert_eq!(head.body, "");
    }
}

#[tokio::test]
async fn a_page_of_unknown_length_comes_whole() {
    // What includes are filled in has no length beforehand.
    let Some(nginx) = Nginx::start("ssi on; ssi_types text/plain;") else {
        return;
    };
    nginx.file("page.txt", "he<!--# echo var=\"none\" default=\"l\" -->lo");
    for page in get_all(&nginx, "/page.txt", &[]).await {
        assert_eq!(page.body, "hello");
        assert_eq!(page.field("content-length"), None);
        let chunked = (page.head.version == Version::HTTP_11).then_some("chunked");
        assert_eq!(page.field("transfer-encoding"), chunked);
    }
}

#[tokio::test]
async fn conditions_and_ranges_are_nginxs_to_judge() {
    let Some(nginx) = Nginx::start("") else {
        return;
    };
    nginx.file("page.txt", "hello");
    let direct = nginx.address(Version::HTTP_11);
    let page = client::ask(direct, Version::HTTP_11, Request::get("/page.txt"), "").await;
    let (tag, date) = (
        page.field("etag").unwrap(),
        page.field("last-modified").unwrap(),
    );
    for (name, value) in [("if-none-match", tag), ("if-modified-since", date)] {
        for answer in get_all(&nginx, "/page.txt", &[(name, value)]).await {
            assert_eq!(answer.head.status, 304, "{name}");
            assert_eq!(answer.field("etag"), Some(tag), "{name}");
            assert_eq!(answer.body, "", "{name}");
        }
    }
    let range = ("range", "bytes=1-3");
    for (fields, status, body, of) in [
        (&[range][..], 206, "ell", Some("bytes 1-3/5")),
        (&[range, ("if-range", tag)], 206, "ell", Some("bytes 1-3/5")),
        (&[range, ("if-range", "\"other\"")], 200, "hello", None),
    ] {
        for answer in get_all(&nginx, "/page.txt", fields).await {
            assert_eq!(answer.head.status, status, "{fields:?}");
            assert_eq!(answer.body, body, "{fields:?}");
            assert_eq!(answer.field("content-range"), of, "{fields:?}");
        }
    }
    for answer in get_all(&nginx, "/page.txt", &[("range", "bytes=9-")]).await {
        assert_eq!(answer.head.status, 416);
        assert_eq!(answer.field("content-range"), Some("bytes */5"));
    }
    for answer in get_all(&nginx, "/page.txt", &[("if-match", "\"other\"")]).await {
        assert_eq!(answer.head.status, 412);
    }
}

#[tokio::test]
async fn an_answer_without_content_has_none() {
    let Some(nginx) = Nginx::start("location /empty { return 204; }") else {
        return;
    };
    for answer in get_all(&nginx, "/empty", &[]).await {
        assert_eq!(answer.head.status, 204);
        assert_eq!(answer.body, "");
        assert_eq!(answer.field("content-length"), None);
    }
}

#[tokio::test]
async fn what_nginx_has_compressed_stays_as_it_is() {
    let gzip = "gzip on; gzip_proxied any; gzip_types text/plain; gzip_min_length 1;";
    let Some(nginx) = Nginx::start(gzip) else {
        return;
    };
    nginx.file("page.txt", "hello ".repeat(1000));
    let direct = nginx.address(Version::HTTP_11);
    let request = Request::get("/page.txt").header("accept-encoding", "gzip");
    let direct = client::ask(direct, Version::HTTP_11, request, "").await;
    assert_eq!(direct.field("content-encoding"), Some("gzip"));
    for page in get_all(&nginx, "/page.txt", &[("accept-encoding", "gzip")]).await {
        assert_eq!(page.field("content-encoding"), Some("gzip"));
        assert_eq!(page.field("vary"), direct.field("vary"));
        assert_eq!(page.body, direct.body, "to the byte");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_arrive_to_the_byte_both_ways() {
    let Some(nginx) = Nginx::start("dav_methods PUT;") else {
        return;
    };
    let large = Bytes::from(noise(16 << 20));
    nginx.file("down", &large);
    for page in get_all(&nginx, "/down", &[]).await {
        assert!(page.body == large, "all {} of it has come", page.body.len());
    }
    for (client, upstream) in PAIRS {
        let front = axum(nginx.forward(upstream)).await;
        let put = Request::put("/up");
        let answer = client::ask(front, client, put, large.clone()).await;
        assert_eq!(answer.head.status, 201, "{client:?} {upstream:?}");
        let up = nginx.process.folder.path().join("html/up");
        assert!(
            std::fs::read(&up).unwrap() == large,
            "{client:?} {upstream:?}"
        );
        std::fs::remove_file(up).unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_is_dropped_without_an_answer_is_a_502() {
    let Some(nginx) = Nginx::start("location /gone { return 444; }") else {
        return;
    };
    for answer in get_all(&nginx, "/gone", &[]).await {
        assert_eq!(answer.head.status, 502);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.starts_with("upstream "), "{text}");
    }
}

#[tokio::test]
async fn requests_in_a_row_share_one_socket() {
    let Some(nginx) = Nginx::start("") else {
        return;
    };
    nginx.file("page.txt", "hello");
    for (client, version) in PAIRS {
        let upstream = in_version(Upstream::builder(), version);
        let address = nginx.address(version);
        let forward = upstream.forward_to(format!("http://{address}").parse().unwrap());
        let mut client = Client::connect(axum(forward).await, client).await;
        for _ in 0..50 {
            assert_eq!(
                client.ask(Request::get("/page.txt"), "").await.body,
                "hello"
            );
        }
        let stats = upstream.stats();
        assert_eq!((stats.opened, stats.reused), (1, 49));
        assert_eq!(sockets::connected_to(address), 1, "as the kernel counts");
        upstream.drain(Duration::from_secs(1)).await;
        assert_eq!(sockets::connected_to(address), 0, "none is left");
    }
}

#[tokio::test]
async fn gathers_that_cut_use_their_connections_again() {
    let Some(nginx) = Nginx::start("") else {
        return;
    };
    nginx.file("page.txt", "hello ".repeat(4000));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let upstream = in_version(Upstream::builder(), version);
        let url = format!("http://{}/page.txt", nginx.address(version));
        for _ in 0..30 {
            let legs = Gather::get([&url, &url, &url]).truncate(Truncate::chars(5));
            let response = legs.send(&upstream).await;
            assert_eq!(response.status(), 200);
            let body = http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap();
            assert_eq!(body.to_bytes(), "hello\n\nhello\n\nhello");
        }
        let stats = upstream.stats();
        // Over HTTP/1.1 the next gather may begin while the rests of the last are read on; and a rest
        // is there only until hyper's buffer has grown to take the page in one read.
        let (most, rests) = match version {
            Version::HTTP_2 => (1, 45),
            _ => (6, 1),
        };
        // A rest that takes too long on a busy machine costs its connection.
        assert!(stats.opened - stats.cut_and_closed <= most, "{stats:?}");
        assert!(
            stats.cut_and_reused >= rests,
            "their rest is read on: {stats:?}"
        );
        // One that was opened for a leg which another connection served before is counted twice.
        assert!(
            stats.reused + stats.opened >= 90,
            "and they serve again: {stats:?}"
        );
    }
}

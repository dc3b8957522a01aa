//! Clients that are not ours at the gateway: curl, nghttp and h2load.

use std::{path::Path, time::Duration};

use http::Version;
use tokio::{process::Command, time::timeout};

use super::support::{Hypercorn, Nginx, noise};
use crate::{
    gateway::Gateway,
    support::{
        peers::{self, Folder},
        sockets,
    },
};

/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program prints, which ends well.
async fn run(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("it ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}\n{text}");
    text
}

/// nginx, and a gateway before it.
async fn before_nginx(flags: &[&str]) -> Option<(Nginx, Gateway)> {
    let nginx = Nginx::start("dav_methods PUT;")?;
    nginx.file("page.txt", "hello");
    let origin = format!("http://{}", nginx.address(Version::HTTP_11));
    let gateway = Gateway::before(&origin, flags).await;
    Some((nginx, gateway))
}

/// A response as curl prints it with `-i`: the head, in lower case, and the body.
async fn curl(curl: &Path, version: &str, arguments: &[&str]) -> (String, String) {
    let text = run(curl, &[&["-sSi", version], arguments].concat()).await;
    let (head, body) = text.split_once("\r\n\r\n").expect("there is a head");
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn curl_gets_what_it_asks_for_in_either_version() {
    let (Some(program), Some((_nginx, gateway))) = (peers::find("curl"), before_nginx(&[]).await)
    else {
        return;
    };
    let page = gateway.uri("/proxy/page.txt");
    for (flag, name) in [
        ("--http1.1", "http/1.1"),
        ("--http2-prior-knowledge", "http/2"),
    ] {
        let (head, body) = curl(&program, flag, &[&page]).await;
        assert!(head.starts_with(&format!("{name} 200")), "{head}");
        assert!(head.contains("content-length: 5"), "{head}");
        assert_eq!(body, "hello");

        let (head, body) = curl(&program, flag, &["--head", &page]).await;
        assert!(head.starts_with(&format!("{name} 200")), "{head}");
        assert!(head.contains("content-length: 5"), "{head}");
        assert_eq!(body, "");

        let tag = head
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .unwrap();
        let condition = format!("If-None-Match: {tag}");
        let (head, body) = curl(&program, flag, &["-H", &condition, &page]).await;
        assert!(head.starts_with(&format!("{name} 304")), "{head}");
        assert_eq!(body, "");

        let (head, body) = curl(&program, flag, &["--range", "1-3", &page]).await;
        assert!(head.starts_with(&format!("{name} 206")), "{head}");
        assert!(head.contains("content-range: bytes 1-3/5"), "{head}");
        assert_eq!(body, "ell");

        let missing = gateway.uri("/proxy/missing");
        let (head, _) = curl(&program, flag, &[&missing]).await;
        assert!(head.starts_with(&format!("{name} 404")), "{head}");
    }
}

#[tokio::test]
async fn curl_uploads_once_it_is_told_to_continue() {
    let (Some(program), Some((nginx, gateway))) = (peers::find("curl"), before_nginx(&[]).await)
    else {
        return;
    };
    let large = noise(2 << 20);
    let folder = Folder::new();
    let file = folder.write("large", &large);
    let target = gateway.uri("/proxy/up");
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        // curl sends the body all the same if nobody answers within this time.
        let arguments = [
            "--expect100-timeout",
            "50",
            "-H",
            "Expect: 100-continue",
            "-T",
        ];
        let arguments = [&arguments[..], &[file.to_str().unwrap(), &target]].concat();
        let text = run(&program, &[&["-sSi", flag], &arguments[..]].concat()).await;
        if flag == "--http1.1" {
            assert!(
                text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201"),
                "{text}"
            );
        } else {
            assert!(text.contains(" 201"), "{text}");
        }
        let up = nginx.process.folder.path().join("html/up");
        assert!(std::fs::read(&up).unwrap() == large, "{flag}: to the byte");
        std::fs::remove_file(up).unwrap();
    }
}

#[tokio::test]
async fn nghttp_sees_the_trailers() {
    let (Some(program), Some(server)) = (peers::find("nghttp"), Hypercorn::start(&[])) else {
        return;
    };
    let origin = format!("http://{}", server.address);
    let gateway = Gateway::before(&origin, &["--http2-prior-knowledge"]).await;
    let text = run(
        &program,
        &[
            "-nv",
            "--no-dep",
            "-H",
            "te: trailers",
            &gateway.uri("/proxy/trailed"),
        ],
    )
    .await;
    let (_, after) = text.split_once(":status: 200").expect("a head");
    let (_, trailers) = after.split_once("recv DATA frame").expect("a body");
    assert!(trailers.contains("x-sum: 5"), "{text}");
    assert!(trailers.contains("END_STREAM"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_h2load_all_succeed_and_the_origin_never_sees_more_sockets_than_the_cap() {
    // With all cores busy, a request may wait long for its turn.
    let flags = [
        "--max-connections",
        "10",
        "--pool-timeout",
        "30s",
        "--read-timeout",
        "30s",
    ];
    let (Some(program), Some((nginx, gateway))) =
        (peers::find("h2load"), before_nginx(&flags).await)
    else {
        return;
    };
    let address = nginx.address(Version::HTTP_11);
    let page = gateway.uri("/proxy/page.txt");
    for version in [&[][..], &["--h1"]] {
        let arguments = [version, &["-n", "2000", "-c", "20", "-m", "10", &page]].concat();
        let load = run(&program, &arguments);
        let (mut load, mut peak) = (std::pin::pin!(load), 0);
        let text = loop {
            match timeout(Duration::from_millis(20), &mut load).await {
                Ok(text) => break text,
                Err(_) => peak = peak.max(sockets::of_process_to(gateway.pid(), address)),
            }
        };
        assert!(
            text.contains("2000 done, 2000 succeeded, 0 failed, 0 errored"),
            "{text}"
        );
        assert!(text.contains("status codes: 2000 2xx"), "{text}");
        assert!((1..=10).contains(&peak), "{peak} sockets to the origin");
    }
}

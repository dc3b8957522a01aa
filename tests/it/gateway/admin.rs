//! The gateway's page in a browser, and the dashboard for what `/metrics` tells.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use tower_upstream::Upstream;

use super::Gateway;
use crate::support::{
    Server,
    peers::{self, Folder},
    sized,
};

/// Longer than a browser takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// That the third one's body has gone.
const TOLD: &str = "upstream_phase_seconds_count{phase=\"body\"} 3\n";

/// A gateway with the page, which has forwarded three requests, and the origin's address.
async fn gateway() -> (Gateway, Server) {
    let server = Server::answering(|_| async { sized("a page") }).await;
    // One connection, which is idle for as long as it takes a browser to start.
    let flags = ["--max-connections", "1", "--idle-timeout", "600s"];
    let flags = [&["--admin", "127.0.0.1:0"], &flags[..]].concat();
    let gateway = Gateway::before(&server.uri(""), &flags).await;
    for _ in 0..3 {
        assert_eq!(get(&gateway.uri("/proxy/")).await, "a page");
    }
    // An exchange is told of when its body has gone, which may be after its last byte has come.
    let told = async {
        while !get(&gateway.uri("/metrics")).await.contains(TOLD) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap();
    (gateway, server)
}

async fn get(uri: &str) -> String {
    let client = Upstream::builder().build().unwrap();
    let response = client.get(uri).await.unwrap();
    response.into_body().text(1 << 20).await.unwrap()
}

fn admin(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.admin.unwrap())
}

/// What a browser has made of a page after three seconds of the page's own time, and what the page's
/// console has said.
async fn see(browser: &Path, url: &str) -> (String, String) {
    let folder = Folder::new();
    let mut command = Command::new(browser);
    let profile = format!("--user-data-dir={}", folder.path().display());
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args([
            "--disable-sync",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
        ])
        .args(["--dump-dom", &profile, url])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let console = said.lines().filter(|line| line.contains(":CONSOLE"));
    (
        String::from_utf8(output.stdout).unwrap(),
        console.collect::<Vec<_>>().join("\n"),
    )
}

#[tokio::test]
async fn a_browser_shows_the_pool_live() {
    let Some(browser) = peers::find_browser() else {
        return;
    };
    let (gateway, server) = gateway().await;
    let (page, console) = see(&browser, &admin(&gateway, "/")).await;
    assert_eq!(console, "", "the page has nothing to complain of");
    // What its script has filled in.
    for part in [
        r#"<span id="state" role="status" class="live">live</span>"#,
        r#"<b id="open">1<small> of 1</small></b>"#,
        r#"<p id="rate-note">67 % on a connection that had served</p>"#,
        &format!("<td>{}<div", server.uri("").trim_end_matches('/')),
        r#"<span style="--c: var(--idle);">idle <b>1</b></span>"#,
    ] {
        assert!(page.contains(part), "{part} is in {page}");
    }
    let connections = page.split(r#"id="connections""#).nth(1).unwrap();
    let connections = connections.split("</svg>").next().unwrap();
    assert!(
        connections.contains(r#"fill="var(--idle)""#),
        "a connection that was idle at two looks is an area: {connections}"
    );
    for from_elsewhere in ["src=", "<link rel=\"stylesheet\"", "@import", "url("] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
}

#[tokio::test]
async fn the_phases_of_every_exchange_are_told() {
    let (gateway, _server) = gateway().await;
    let live: Value = serde_json::from_str(&get(&admin(&gateway, "/live")).await).unwrap();
    let metrics = get(&gateway.uri("/metrics")).await;
    for (phase, times) in [("wait", 3), ("connect", 1), ("head", 3), ("body", 3)] {
        let buckets = live["phases"][phase].as_array().unwrap();
        let all: u64 = buckets.iter().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(all, times, "{phase}");
        for line in [
            format!("upstream_phase_seconds_bucket{{phase=\"{phase}\",le=\"+Inf\"}} {times}"),
            format!("upstream_phase_seconds_count{{phase=\"{phase}\"}} {times}"),
        ] {
            assert!(
                metrics.lines().any(|other| other == line),
                "{line}: {metrics}"
            );
        }
    }
}

#[tokio::test]
async fn every_expression_of_the_dashboard_names_a_metric_that_there_is() {
    let (gateway, _server) = gateway().await;
    let metrics = get(&gateway.uri("/metrics")).await;
    let known: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();

    let dashboard = include_str!("../../../examples/grafana/dashboard.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let mut told = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap();
        targets.iter().map(|target| (target, &target["expr"]))
    });
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables = variables.iter().filter(|one| one["type"] == "query");
    for (one, query) in queries.chain(variables.map(|one| (one, &one["query"]))) {
        assert_eq!(one["datasource"]["uid"], "${datasource}", "{one}");
        let query = query.as_str().unwrap();
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: BTreeSet<_> = words.filter(|word| word.starts_with("upstream_")).collect();
        assert!(!names.is_empty(), "{query}");
        assert!(names.is_subset(&known), "{query}: {known:?}");
        told.extend(names);
    }
    let unused: Vec<_> = known.difference(&told).collect();
    assert_eq!(unused, [&"upstream_peak_connections"], "all else is shown");
}

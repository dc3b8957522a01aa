//! A trial can fail: each of its conditions, by something that breaks it. And the faults again, in a
//! process that has nothing else to do.

use std::time::Duration;

use tokio::time::sleep;

use super::builder;
use crate::support::{
    alone::{assert_pass_alone, is_alone},
    echo, sized,
    trial::Trial,
};

#[tokio::test]
async fn a_trial_in_which_nothing_goes_wrong_passes() {
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    trial.get(server.uri("/")).await.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
#[should_panic(expected = "not within two seconds: nothing is at work and nobody waits")]
async fn a_body_that_is_still_held_is_noticed() {
    let trial = Trial::start(builder()).await;
    let server = trial
        .saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    let request = trial.request("GET", &server.uri("/fault"));
    let response = trial
        .upstream
        .send(request.body(String::new()).unwrap())
        .await;
    let _held = response.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
#[should_panic(expected = "not within two seconds: every task has ended")]
async fn a_task_that_is_left_is_noticed() {
    let trial = Trial::start(builder()).await;
    tokio::spawn(std::future::pending::<()>());
    trial.over([]).await;
}

#[tokio::test]
#[should_panic(expected = "nothing has panicked")]
async fn a_task_that_has_panicked_is_noticed() {
    let trial = Trial::start(builder()).await;
    let panics = tokio::spawn(async { panic!("as the test wants it") });
    panics.await.unwrap_err();
    trial.over([]).await;
}

#[tokio::test]
#[should_panic(expected = "a script of this server has panicked")]
async fn a_script_that_has_panicked_is_noticed() {
    let trial = Trial::start(builder()).await;
    let server = trial
        .server(|_| async { panic!("as the test wants it") })
        .await;
    trial.fails(server.uri("/")).await;
    drop(server);
}

#[tokio::test]
#[should_panic(expected = "on a connection with a fault")]
async fn a_request_on_a_connection_that_saw_a_fault_is_noticed() {
    let trial = Trial::start(builder()).await;
    // A fault that is none: the connection is as good as before, and is used again.
    let server = trial.saying(sized("")).await;
    trial.get(server.uri("/fault")).await.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
#[should_panic(expected = "has come 2 times")]
async fn a_request_that_is_sent_twice_is_noticed() {
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    let request = trial.request("POST", &server.uri("/"));
    let request = request.body(String::new()).unwrap();
    trial.send(request.clone()).await.unwrap();
    trial.send(request).await.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
#[should_panic(expected = "a canary gets its own answer")]
async fn an_answer_that_is_another_requests_is_noticed() {
    let trial = Trial::start(builder()).await;
    let server = trial
        .server(|mut peer| async move {
            while peer.request().await?.is_some() {
                peer.write(sized("request-0")).await?;
            }
            Ok(())
        })
        .await;
    trial.get(server.uri("/")).await.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
#[should_panic(expected = "3 sockets, and 2 allowed")]
async fn a_socket_too_many_is_noticed() {
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(
            tokio::net::TcpStream::connect(server.address)
                .await
                .unwrap(),
        );
    }
    while server.accepted() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(others);
    trial.over([server]).await;
}

/// Descriptors and memory are a process's, so this is when they are looked at.
#[test]
fn each_fault_in_a_process_of_its_own_leaves_no_descriptor_and_bounded_memory() {
    if !is_alone() {
        assert_pass_alone("", &["faults::", "--skip", "faults::trials"]);
    }
}

#[tokio::test]
async fn alone_a_descriptor_that_is_left_is_noticed() {
    if is_alone() {
        let trial = Trial::start(builder()).await;
        let _left = std::fs::File::open("/dev/null").unwrap();
        trial.over([]).await;
    } else {
        let output = crate::support::alone::run_alone("", &["alone_a_descriptor_that_is_left"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("every descriptor is closed"), "{told}");
        assert!(!output.status.success());
    }
}

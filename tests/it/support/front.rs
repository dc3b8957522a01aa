//! Servers in front of what is tested, in this process.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, IntoFuture},
    net::SocketAddr,
};

use axum::{BoxError, Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{net::TcpListener, task::AbortHandle};
use tower::Service;
use tower_upstream::Forward;

thread_local! {
    /// What accepts connections for the test on this thread.
    static ACCEPTING: RefCell<Vec<AbortHandle>> = const { RefCell::new(Vec::new()) };
}

/// Accepts no more connections. Those there are end when their clients close them.
pub(crate) fn stop() {
    ACCEPTING.take().iter().for_each(AbortHandle::abort);
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accept(serving: impl Future + Send + 'static) {
    let task = tokio::spawn(async { drop(serving.await) });
    ACCEPTING.with_borrow_mut(|all| all.push(task.abort_handle()));
}

/// Serves it by axum.
pub(crate) async fn router(app: Router) -> SocketAddr {
    let (listener, address) = listen().await;
    router_on(listener, app);
    address
}

/// The same where the address had to be known before.
pub(crate) fn router_on(listener: TcpListener, app: Router) {
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    accept(axum::serve(listener, app).into_future());
}

/// Serves it by axum: a [`Forward`], or one in a layer.
pub(crate) async fn axum<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    router(Router::new().fallback_service(service)).await
}

/// Serves it by hyper, with nothing between.
pub(crate) async fn bare(forward: Forward) -> SocketAddr {
    let (listener, address) = listen().await;
    accept(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(forward.clone());
            let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    address
}

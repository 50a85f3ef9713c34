//! HTTP/2 with many streams on each connection; gRPC, which is HTTP/2 with a frame in each body and a verdict in the trailers.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Version};

use crate::pace::Pace;
use crate::stream::Connector;
use crate::{Ask, Kind, Result};

/// Bytes of a message of gRPC, besides the five in front of it.
const MESSAGE: usize = 128;

/// Asks on one connection, with as many streams as are wanted.
pub(crate) async fn keep_asking(ask: &Ask, connector: &Connector, pace: &Pace) -> Result<()> {
    let stream = connector.connect().await?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Bytes>(stream)
        .await?;
    let connection = tokio::task::spawn_local(connection);
    let asked = async {
        let streams = (0..ask.streams).map(|_| one_after_the_other(ask, sender.clone(), pace));
        for ended in join(streams).await {
            ended?;
        }
        Ok(())
    };
    let result = asked.await;
    connection.abort();
    result
}

async fn one_after_the_other(ask: &Ask, sender: SendRequest<Bytes>, pace: &Pace) -> Result<()> {
    let body = body(ask);
    while let Some(due) = pace.next().await {
        exchange(ask, sender.clone().ready().await?, &body).await?;
        pace.answered(due);
    }
    Ok(())
}

fn body(ask: &Ask) -> Bytes {
    if ask.kind == Kind::Grpc { message() } else { vec![b'x'; ask.upload].into() }
}

/// One message: not compressed, its length, its bytes.
pub(crate) fn message() -> Bytes {
    let mut message = vec![0, 0, 0, 0, MESSAGE as u8];
    message.resize(5 + MESSAGE, b'x');
    message.into()
}

async fn exchange(ask: &Ask, mut sender: SendRequest<Bytes>, body: &Bytes) -> Result<()> {
    let scheme = if ask.tls.is_some() { "https" } else { "http" };
    let method = if body.is_empty() { Method::GET } else { Method::POST };
    let path = if ask.kind == Kind::Grpc { "/echo.Echo/Say" } else { &ask.path };
    let mut request =
        Request::builder().version(Version::HTTP_2).method(method).uri(format!("{scheme}://localhost{path}"));
    if ask.kind == Kind::Grpc {
        request = request.header("content-type", "application/grpc").header("te", "trailers");
    }
    let (response, mut upload) = sender.send_request(request.body(())?, body.is_empty())?;
    if !body.is_empty() {
        // The library keeps what no window has room for yet.
        upload.send_data(body.clone(), true)?;
    }
    let response = response.await?;
    if response.status() != 200 {
        return Err(response.status().to_string().into());
    }
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    let trailers = body.trailers().await?;
    if ask.kind == Kind::Grpc {
        let verdict = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        if verdict.is_none_or(|verdict| verdict != "0") {
            return Err("an answer without the trailer grpc-status: 0".into());
        }
    }
    Ok(())
}

/// Waits for all, which run side by side in one task each.
async fn join<F: Future<Output = Result<()>>>(all: impl Iterator<Item = F>) -> Vec<Result<()>> {
    let mut waiting: Vec<_> = all.map(|each| (Box::pin(each), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, done) in &mut waiting {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(result) => *done = Some(result),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

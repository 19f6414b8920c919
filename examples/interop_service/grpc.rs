//! gRPC: tonic both ways, without generated code. A message is a `google.protobuf.StringValue`, which is what
//! `prost` takes a `String` for.

use crate::known;
use spanlet_std::tower::{TraceClient, TraceClientLayer, TraceServerLayer};
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::http::uri::{PathAndQuery, Uri};
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};

const ASK: &str = "/spanlet.interop.Relay/Ask";

/// The next service: where it is, and the channel to it within our layer.
#[derive(Clone)]
struct Downstream {
    origin: Uri,
    channel: TraceClient<Channel>,
}

#[derive(Clone)]
struct Relay(Option<Downstream>);

impl NamedService for Relay {
    const NAME: &'static str = "spanlet.interop.Relay";
}

impl Service<HttpRequest<Body>> for Relay {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let relay = self.clone();
        Box::pin(async move {
            if request.uri().path() != ASK {
                return Ok(Status::unimplemented("there is only Ask").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            let answer = tower::service_fn(move |asked| relay.clone().answer(asked));
            Ok(grpc.unary(answer, request).await)
        })
    }
}

impl Relay {
    async fn answer(self, asked: Request<String>) -> Result<Response<String>, Status> {
        let Some(Downstream { origin, channel }) = self.0 else {
            return match asked.into_inner().as_str() {
                "absent" => Err(Status::not_found("no such thing")),
                _ => Ok(Response::new(known().to_string())),
            };
        };
        let mut client = tonic::client::Grpc::with_origin(channel, origin);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<String, String>::default();
        let path = PathAndQuery::from_static(ASK);
        client
            .unary(Request::new(asked.into_inner()), path, codec)
            .await
    }
}

pub(crate) async fn serve(
    listener: TcpListener,
    downstream: Option<String>,
    ended: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let downstream = downstream.map(Endpoint::from_shared).transpose()?;
    let downstream = downstream.map(|endpoint| Downstream {
        // The span learns from it whom it asks; a channel alone keeps that to itself.
        origin: endpoint.uri().clone(),
        channel: TraceClientLayer::new().layer(endpoint.connect_lazy()),
    });
    Server::builder()
        .layer(TraceServerLayer::new())
        .add_service(Relay(downstream))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), ended)
        .await?;
    Ok(())
}

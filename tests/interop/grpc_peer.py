"""A gRPC service and client that know nothing of tracing: run under `opentelemetry-instrument`.

    grpc_peer.py serve       answers on PORT; asks DOWNSTREAM, if there is one
    grpc_peer.py ask TEXT    asks DOWNSTREAM once, prints the answer or the status

A message is a google.protobuf.StringValue.
"""

import concurrent.futures
import json
import os
import sys

from google.protobuf.wrappers_pb2 import StringValue
import grpc

METHOD = "/spanlet.interop.Relay/Ask"


def ask(text: str) -> str:
    with grpc.insecure_channel(os.environ["DOWNSTREAM"]) as channel:
        call = channel.unary_unary(METHOD, StringValue.SerializeToString, StringValue.FromString)
        return call(StringValue(value=text), timeout=10).value


def answer(request: StringValue, context: grpc.ServicerContext) -> StringValue:
    if os.environ.get("DOWNSTREAM"):
        try:
            return StringValue(value=ask(request.value))
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
    if request.value == "absent":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    return StringValue(value=json.dumps({"metadata": dict(context.invocation_metadata())}, default=str))


def serve() -> None:
    handler = grpc.unary_unary_rpc_method_handler(answer, StringValue.FromString, StringValue.SerializeToString)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor())
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("spanlet.interop.Relay", {"Ask": handler})])
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        try:
            print(ask(sys.argv[2]))
        except grpc.RpcError as error:
            print(json.dumps({"status": error.code().name, "details": error.details()}))

#!/usr/bin/env python3
"""An authoriser that speaks envoy.service.auth.v3, by grpcio and the protocol's own generated code.

    authz_peer.py serve PORT [FILE]     prints a line for each question, and decides by the header `x-decision`: allow (and break
                                        the framing), pass, deny, wait, fail; about a connection of bytes by FILE, where `hold` waits for another word
"""

import sys
import time
from concurrent import futures

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2


def option(key, value, **how):
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=key, value=value), **how)


def allowed(framing):
    append = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=external_auth_pb2.OkHttpResponse(
            headers=[option("x-user", "alice")] + framing,
            headers_to_remove=["x-secret"],
            response_headers_to_add=[
                option("set-cookie", "a=1", append_action=append),
                option("set-cookie", "b=2", append_action=append),
            ],
            query_parameters_to_set=[base_pb2.QueryParameter(key="by", value="authz")],
            query_parameters_to_remove=["token"],
        ),
    )


def denied():
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.PERMISSION_DENIED),
        denied_response=external_auth_pb2.DeniedHttpResponse(
            status=http_status_pb2.HttpStatus(code=401),
            headers=[option("www-authenticate", "Sidle"), option("set-cookie", "a=1"), option("set-cookie", "b=2")],
            body="not you",
        ),
    )


def of_bytes(file, context):
    while True:
        with open(file) as opened:
            decision = opened.read()
        if decision != "hold" or not context.is_active():
            return decision
        time.sleep(0.02)


class Authorizer(external_auth_pb2_grpc.AuthorizationServicer):
    def __init__(self, file):
        self.file = file

    def Check(self, request, context):
        # In one write, newline and all: other threads say theirs meanwhile.
        print(json_format.MessageToJson(request, indent=None) + "\n", end="", flush=True)
        if request.attributes.HasField("request"):
            decision = request.attributes.request.http.headers.get("x-decision", "")
        else:
            decision = of_bytes(self.file, context)
        if decision == "fail":
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        if decision == "wait":
            time.sleep(20)
        framing = [option("content-length", "7")] if decision == "allow" else []
        return denied() if decision == "deny" else allowed(framing)


def serve(port, file):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Authorizer(file), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), *sys.argv[3:4] or [None])
    else:
        sys.exit(__doc__)

#!/usr/bin/env python3
"""grpcio as a peer: a server and a client of all four kinds of call, without generated code.

    grpc_peer.py serve PORT [ADDRESS]                serves test.Kinds, on 127.0.0.1 unless told otherwise
    grpc_peer.py check ADDRESS AUTHORITY             calls every kind on it, says what it saw, exits 1 at the first surprise
    grpc_peer.py call ADDRESS AUTHORITY /pkg.Svc/M   one call with the message "hello"; prints the answer
"""

import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "test.Kinds"


# ---- server ----------------------------------------------------------------------------------------------------------


def unary(request, context):
    context.send_initial_metadata([("x-initial", "1")])
    context.set_trailing_metadata([("x-trailing", "2"), ("data-bin", b"\x00\xff")])
    return b"got " + request


def server_stream(request, context):
    for index in range(int(request)):
        yield b"%d" % index


def client_stream(requests, context):
    return b"+".join(requests)


def bidi(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.set_trailing_metadata([("x-trailing", "3")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 100% \u00e9")


def say(line):
    """In one write: `print` writes each part by itself, and what handlers in other threads say would come between."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def wait(request, context):
    """Waits until the caller has gone, and says so on standard output."""
    say(f"waiting, time remaining {context.time_remaining()}")
    while context.is_active():
        time.sleep(0.01)
    say(f"cancelled {request.decode()}")
    return b""


def serve(port, address="127.0.0.1"):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    if server.add_insecure_port(f"{address}:{port}") == 0:
        sys.exit(f"port {port} is taken")
    server.start()
    print("listening", flush=True)
    server.wait_for_termination()


# ---- client ----------------------------------------------------------------------------------------------------------


def channel(address, authority):
    options = [("grpc.default_authority", authority), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
    return grpc.insecure_channel(address, options=options)


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: wanted {wanted!r}, found {found!r}")
    print(what, "ok", flush=True)


def status_of(function):
    try:
        function()
    except grpc.RpcError as error:
        return error
    sys.exit("the call succeeded")


def check(address, authority):
    with channel(address, authority) as c:
        response, call = c.unary_unary(f"/{SERVICE}/Unary").with_call(b"a", timeout=10)
        expect("unary", response, b"got a")
        expect("initial metadata", dict(call.initial_metadata()).get("x-initial"), "1")
        trailing = dict(call.trailing_metadata())
        expect("trailing metadata", (trailing.get("x-trailing"), trailing.get("data-bin")), ("2", b"\x00\xff"))
        large = b"x" * 3_000_000
        expect("large message", c.unary_unary(f"/{SERVICE}/Unary")(large, timeout=10), b"got " + large)

        messages = list(c.unary_stream(f"/{SERVICE}/ServerStream")(b"100", timeout=10))
        expect("server stream", messages, [b"%d" % index for index in range(100)])
        expect("client stream", c.stream_unary(f"/{SERVICE}/ClientStream")(iter([b"a", b"b", b"c"]), timeout=10), b"a+b+c")
        bidi_in_step(c)

        error = status_of(lambda: c.unary_unary(f"/{SERVICE}/Fail")(b"", timeout=10))
        expect("status", error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        expect("details", error.details(), "not today: 100% \u00e9")
        expect("trailers of a failure", dict(error.trailing_metadata()).get("x-trailing"), "3")

        # Long enough for both to reach the server on a busy machine: it hears of the end of what it has begun.
        error = status_of(lambda: c.unary_unary(f"/{SERVICE}/Wait")(b"deadline", timeout=2))
        expect("deadline", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        pending = c.unary_unary(f"/{SERVICE}/Wait").future(b"by-client", timeout=30)
        time.sleep(1.5)
        pending.cancel()
        expect("cancellation", pending.code(), grpc.StatusCode.CANCELLED)

        error = status_of(lambda: c.unary_unary(f"/{SERVICE}/Absent")(b"", timeout=10))
        expect("unknown method", error.code(), grpc.StatusCode.UNIMPLEMENTED)


def bidi_in_step(c):
    """Sends each message only when the answer to the last has come: a proxy that buffers would stop here."""
    answered = threading.Semaphore(1)
    words = [b"one", b"two", b"three"]

    def requests():
        for word in words:
            answered.acquire(timeout=10)
            yield word

    found = []
    for response in c.stream_stream(f"/{SERVICE}/Bidi")(requests(), timeout=10):
        found.append(response)
        answered.release()
    expect("bidirectional stream", found, [word.upper() for word in words])


def call(address, authority, method):
    with channel(address, authority) as c:
        try:
            response, done = c.unary_unary(method).with_call(b"hello", timeout=10)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name} {error.details()}")
        print(dict(done.initial_metadata()).get("x-version", "-"), response.decode())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) in (2, 3) and arguments[0] == "serve":
        serve(int(arguments[1]), *arguments[2:])
    elif len(arguments) == 3 and arguments[0] == "check":
        check(*arguments[1:])
    elif len(arguments) == 4 and arguments[0] == "call":
        call(*arguments[1:])
    else:
        sys.exit(__doc__)

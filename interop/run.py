#!/usr/bin/env python3
"""Clients and servers that others wrote, through the gateway: curl, h2load, grpcio, websockets.

    python3 interop/run.py [path of the pointsman binary]

Needs curl with HTTP/2, h2load (Debian's nghttp2-client) and the Python packages of
interop/requirements.txt. Everything runs on loopback; each line says what was tried. Any failure
ends the run with status 1.
"""

import asyncio
import concurrent.futures
import hashlib
import http.server
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
import websockets

ROOT = pathlib.Path(__file__).resolve().parent.parent
GATEWAY = "127.91.0.1"
ADMIN = "127.0.0.1:15391"
PAGE, LARGE = b"a page\n", bytes(range(256)) * 16384
WEB, GRPC, ECHO, AUTO = 9180, 9190, 9200, 9210
STREAMED = 200


def said(what):
    print(f"  {what}", flush=True)


# Upstreams ------------------------------------------------------------------------------------


def greeter():
    """A gRPC server of every kind of call, with bytes for messages."""

    def unary(request, context):
        if request == b"deadline":
            time.sleep(5)
        if request == b"refuse":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 50 % / \u00e4")
        metadata = dict(context.invocation_metadata())
        context.set_trailing_metadata((("seen-bin", metadata.get("sent-bin", b"")),))
        return b"hello " + request

    def server_stream(request, _context):
        for number in range(STREAMED):
            yield request + str(number).encode()

    def client_stream(requests, _context):
        return str(sum(len(request) for request in requests)).encode()

    def both(requests, _context):
        yield from requests

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Greeter", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def websocket_echo():
    """A WebSocket server; its port."""
    started = concurrent.futures.Future()

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def serve():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            started.set_result(server.sockets[0].getsockname()[1])
            await asyncio.Future()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    return started.result(timeout=10)


def web_server():
    """A web server with a page, something large, and an ear for uploads; its port."""

    class Site(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one write.
        wbufsize = 1 << 16

        def do_GET(self):
            found = {"/page": PAGE, "/large": LARGE}.get(self.path)
            self.answer(404 if found is None else 200, found or b"")

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.answer(200, hashlib.sha256(body).hexdigest().encode())

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer.request_queue_size = 1024
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


# Documents ------------------------------------------------------------------------------------


def service(name, port, declared, endpoint):
    name_of_port = f"name: {declared}, " if declared else ""
    return f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: {GATEWAY}, ports: [{{{name_of_port}port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{{name_of_port}port: {endpoint}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""


def wait_until_ready():
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{ADMIN}/ready", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the gateway did not become ready within 30 s")


# Clients --------------------------------------------------------------------------------------


def curl(*arguments):
    command = ["curl", "-sS", "--max-time", "20", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def try_curl(folder):
    (folder / "large").write_bytes(LARGE)
    url = f"http://{GATEWAY}:{WEB}"
    for version in ("--http1.0", "--http1.1", "--http2-prior-knowledge"):
        ask = [version, "-H", "Host: web"]
        assert curl(*ask, f"{url}/page") == PAGE, version
        assert curl(*ask, f"{url}/large") == LARGE, version
        head = curl(*ask, "-I", f"{url}/large").decode()
        assert f"content-length: {len(LARGE)}" in head.lower(), head
        code = curl(*ask, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/no")
        assert code == b"404", code
        posted = curl(*ask, "--data-binary", f"@{folder / 'large'}", f"{url}/up").decode()
        assert posted == hashlib.sha256(LARGE).hexdigest(), posted
        said(f"curl {version}: a page, 4 MiB down and up, HEAD, 404")


def try_h2load():
    command = ["h2load", "-n", "5000", "-c", "10", "-m", "10", "-H", ":authority: web"]
    out = subprocess.run(
        [*command, f"http://{GATEWAY}:{WEB}/page"], check=True, capture_output=True, text=True
    ).stdout
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    assert "5000 2xx" in out, out
    said("h2load: 5,000 requests over 10 connections x 10 streams, all 200")


def try_grpc(port, how):
    channel = grpc.insecure_channel(
        f"{GATEWAY}:{port}", options=[("grpc.default_authority", "grpc")]
    )
    unary = channel.unary_unary("/Greeter/Unary")
    binary = bytes(range(256))
    answer, call = unary.with_call(b"you", timeout=10, metadata=(("sent-bin", binary),))
    assert answer == b"hello you", answer
    assert dict(call.trailing_metadata())["seen-bin"] == binary
    for wanted, code in ((b"refuse", "FAILED_PRECONDITION"), (b"deadline", "DEADLINE_EXCEEDED")):
        try:
            unary(wanted, timeout=0.5)
            raise AssertionError(f"{wanted} was answered")
        except grpc.RpcError as error:
            assert error.code().name == code, error
            if wanted == b"refuse":
                assert error.details() == "not today: 50 % / \u00e4", error.details()
    pieces = list(channel.unary_stream("/Greeter/ServerStream")(b"n", timeout=20))
    assert pieces == [b"n" + str(number).encode() for number in range(STREAMED)]
    sum_of = channel.stream_unary("/Greeter/ClientStream")
    assert sum_of((b"x" * 1000 for _ in range(STREAMED)), timeout=20) == b"200000"
    both = channel.stream_stream("/Greeter/Both")
    sent = [bytes([number % 256]) * 10_000 for number in range(STREAMED)]
    assert list(both(iter(sent), timeout=20)) == sent
    endless = both(iter(lambda: time.sleep(0.01) or b"again", None), timeout=20)
    assert next(endless) == b"again"
    endless.cancel()
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        answers = pool.map(lambda number: unary(str(number).encode(), timeout=20), range(500))
        assert list(answers) == [f"hello {number}".encode() for number in range(500)]
    channel.close()
    said(f"grpcio, {how}: unary, binary metadata, errors, deadline, all kinds of streams, cancel")


async def try_websocket():
    uri = f"ws://{GATEWAY}:{ECHO}/chat"
    async with websockets.connect(uri, additional_headers={"X": "y"}, max_size=None) as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
            await socket.send("x" * size)
            assert await socket.recv() == "x" * size
        await (await socket.ping())
    said("websockets: messages of 0 to 1,000,000 bytes, ping, close")


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/pointsman"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server, grpc_port = greeter()
        documents = folder / "mesh.yaml"
        documents.write_text(
            service("web", WEB, "http", web_server())
            + service("grpc", GRPC, "grpc", grpc_port)
            + service("auto", AUTO, "", grpc_port)
            + service("echo", ECHO, "http", websocket_echo())
        )
        gateway = subprocess.Popen([binary, "run", "-q", "-f", documents, "--admin", ADMIN])
        try:
            wait_until_ready()
            try_curl(folder)
            try_h2load()
            try_grpc(GRPC, "a declared port")
            try_grpc(AUTO, "a detected one")
            asyncio.run(try_websocket())
            gateway.terminate()
            assert gateway.wait(timeout=40) == 0
            said("the gateway ends in order")
        finally:
            gateway.kill()
            server.stop(None)


if __name__ == "__main__":
    main()

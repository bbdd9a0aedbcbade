"""An API server on loopback that forwards ports of pods as a real one: over a WebSocket.

Two channels for each port, data (0) and errors (1); the first frame of each is the port's number.
What stands behind a pod's port is a real server of the test, or nothing.
"""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from aiohttp import WSMsgType, web

PROTOCOL = "v4.channel.k8s.io"


class ApiServer:
    """Objects by their path, and ports of pods: (pod, port) -> port on this machine."""

    def __init__(self):
        self.objects = {}
        self.ports = {}
        self.allowed = True
        self.forwarded = []

    async def _object(self, request):
        found = self.objects.get(request.path)
        if found is None:
            return web.json_response({"message": f"{request.path} not found"}, status=404)
        return web.json_response(found)

    async def _forward(self, request):
        if not self.allowed:
            return web.json_response({"message": "forbidden"}, status=403)
        pod, number = request.match_info["pod"], int(request.query["ports"])
        self.forwarded.append((pod, number))
        socket = web.WebSocketResponse(protocols=[PROTOCOL])
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(bytes([channel]) + number.to_bytes(2, "little"))
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[pod, number])
        except (KeyError, OSError):
            await socket.send_bytes(b"\x01connection refused in the pod")
            await socket.close()
            return socket

        async def answers():
            while data := await reader.read(5000):  # a large answer comes in several frames
                await socket.send_bytes(b"\x00" + data)
            await socket.close()

        task = asyncio.create_task(answers())
        async for message in socket:
            if message.type == WSMsgType.BINARY and message.data[0] == 0:
                writer.write(message.data[1:])
        task.cancel()
        writer.close()
        return socket

    @contextmanager
    def running(self, folder):
        """Serve; gives the path of a kubeconfig."""
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/team/pods/{pod}/portforward", self._forward)
        app.router.add_get("/{path:.*}", self._object)
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(app, shutdown_timeout=1)

        async def start():
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return site._server.sockets[0].getsockname()[1]

        port = loop.run_until_complete(start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(_kubeconfig(port)))
        try:
            yield file
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


def _kubeconfig(port):
    return {
        "current-context": "test",
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "team"}}
        ],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {"token": "api-token"}}],
    }


@contextmanager
def http_server(answers):
    """A server on loopback: path -> (status, body); gives its port and the requests it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append((self.path, self.headers.get("Authorization"), self.headers["Host"]))
            status, body = answers.get(self.path, (404, "no such page"))
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

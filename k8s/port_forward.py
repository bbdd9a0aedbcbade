"""HTTP over a port of a pod that the API server forwards, as `kubectl port-forward` does.

The kubelet opens the connection inside the pod's own network namespace, where network policies do
not apply. The API server's service proxy connects from the API server's own address instead, which
the chart's policies refuse wherever that is not the pod's node.

The protocol: a WebSocket whose messages begin with the number of their channel, 0 for data and 1
for errors; the first message of each holds the port's number. `kubernetes.stream.portforward`
speaks it too, through a thread without a timeout that leaves its socket open when the pod closes.
"""

import http.client
import io
from typing import Any, final

from websocket import ABNF, WebSocket, WebSocketException

_TIMEOUT_S = 30.0  # between two messages
_DATA = b"\0"


def get(websocket: WebSocket, port: int, path: str, token: str = "") -> tuple[int, str]:
    """Send one GET request.

    Args:
        websocket: connection to the port; closed at the end.
        port: port of the pod.
        path: path of the URL.
        token: bearer token; "" = none.

    Returns:
        The HTTP status and the body.

    Raises:
        OSError: nobody answers at that port, or not in time; with the kubelet's words.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port)
    socket: Any = _Socket(websocket)
    connection.sock = socket
    # A connection that is lost is not opened again: it would lead to this machine.
    connection.auto_open = 0
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        websocket.settimeout(_TIMEOUT_S)
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            return response.status, response.read().decode(errors="replace")
    except (OSError, WebSocketException, http.client.HTTPException) as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        connection.close()
        websocket.shutdown()  # type: ignore[no-untyped-call]


@final
class _Socket:
    """The data channel as a socket, as far as `http.client` needs one."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    def sendall(self, data: bytes) -> None:
        self._websocket.send_binary(_DATA + data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._websocket))

    def close(self) -> None:
        """Leave it open: as with a socket, its file may still be read."""


@final
class _Reader(io.RawIOBase):
    """The data that the pod sends."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._begun: set[int] = set()
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            kind, message = self._websocket.recv_data()
            if kind == ABNF.OPCODE_CLOSE:
                return 0
            channel, content = message[0], message[1:]
            if channel not in self._begun:
                self._begun.add(channel)
            elif channel == 0:
                self._left = content
            else:
                raise OSError(content.decode(errors="replace"))
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

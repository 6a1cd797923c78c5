"""A TCP proxy that misbehaves between a device and its broker, as networks and brokers do."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Literal

Mode = Literal["pass", "stall", "swallow", "delay", "deny"]
_PUBACK, _SUBACK = 0x40, 0x90
_NOT_AUTHORIZED = b"\x87"


class Proxy:
    """The proxy.

    Attributes:
        mode: `pass`; `stall` is half open, so nothing is passed on and nothing is closed; `swallow` drops the broker's
            PUBACKs; `delay` passes everything on 0.3 s late; `deny` lets the broker refuse all subscriptions.
        target_port: the broker's, for new connections.
    """

    def __init__(self, target_port: int) -> None:
        self.mode: Mode = "pass"
        self.target_port = target_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._ending = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections."""
        for pair in list(self._pairs):
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ending = True
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while not self._ending:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target_port), 2)
            except OSError:
                client.close()
                continue
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((client, broker))
            threading.Thread(target=self._serve, args=(client, broker), daemon=True).start()

    def _serve(self, client: socket.socket, broker: socket.socket) -> None:
        answers = b""
        with client, broker, contextlib.suppress(OSError):
            while not self._ending:
                if self.mode == "stall":
                    time.sleep(0.05)
                    continue
                for end in select.select([client, broker], [], [], 0.05)[0]:
                    data = end.recv(65_536)
                    if not data:
                        return
                    if self.mode == "delay":
                        time.sleep(0.3)
                    if end is client:
                        broker.sendall(data)
                    else:
                        answers, whole = _packets(answers + data)
                        swallowed = _PUBACK if self.mode == "swallow" else None
                        if self.mode == "deny":
                            whole = [one[:-1] + _NOT_AUTHORIZED if one[0] & 0xF0 == _SUBACK else one for one in whole]
                        client.sendall(b"".join(packet for packet in whole if packet[0] & 0xF0 != swallowed))
        with contextlib.suppress(ValueError):
            self._pairs.remove((client, broker))


def _packets(data: bytes) -> tuple[bytes, list[bytes]]:
    """Splits data into whole MQTT packets. Returns (the rest, the packets)."""
    whole = []
    while len(data) >= 2:
        length, at, shift = 0, 1, 0
        while at < len(data):
            length |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        else:
            break
        if len(data) < at + length:
            break
        whole.append(data[: at + length])
        data = data[at + length :]
    return data, whole

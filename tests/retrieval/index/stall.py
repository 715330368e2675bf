"""A relay on loopback between a client and a server that can stop passing bytes on, as a hung server or network does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Relay:
    port: int
    stalled: threading.Event = field(default_factory=threading.Event)


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """Relay to the server at ``port``; after ``stalled.set()`` connections are taken, and nothing is answered."""
    listener = socket.create_server(("127.0.0.1", 0))
    out = Relay(listener.getsockname()[1])
    links: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not out.stalled.is_set():
                    target.sendall(data)
        except OSError:
            pass
        finally:
            if not out.stalled.is_set():
                target.close()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
            except OSError:
                return
            links.extend((client, server))
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            threading.Thread(target=pump, args=(server, client), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield out
    finally:
        listener.close()
        for link in links:
            link.close()

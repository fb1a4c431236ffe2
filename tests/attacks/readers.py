"""The readers of the matrix, each with a disk or flash of its own, and what it comes to.

Every reader has the same three verbs: `start` from a state, `read` from a URL (what release it
comes to, by its counter, or `ReadRefusedError` in its own words), and `left`: names and digests of
everything that it holds.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Protocol
from unittest.mock import patch
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.ngclient import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
from urllib3.exceptions import HTTPError

from cli.gateway_relay import relay_update
from firmware_images.flash_medium import MemoryFlash
from manifests.assignment import parse_assignment
from manifests.gateway import Gateway
from manifests.http_transport import HttpTransport
from manifests.manifest import parse_manifest
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.relay import RelayedUpdate
from manifests.transfer import run_session
from manifests.update_device import UpdateDevice
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.updater import update_device
from signing.cose_message import parse_message
from signing.refusal import Refusal
from tests.attacks.attack import Scene
from tests.attacks.ground import ASSIGNMENT, IN_FORCE
from tests.c_verifier.verdicts import codes_of
from tests.c_verifier.witness import Recording, Witness
from tests.manifests.test_relay import Link
from tests.manifests.update_lives import NEW_APP, OLD_APP, QuickBoard
from tests.manifests.world import FLASH_BYTES, PARTITIONS, RULES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from tests.attacks.tuf_js import TufJs
    from tests.c_verifier.verifier import CVerifier

FAST_BYTES_PER_S = 1 << 20
SECTOR_BYTES = 4096
NO_SCENE = Scene()
WIDE_RULES = UpdateRules(chunk_bytes=4 * SECTOR_BYTES)
_DIGEST = re.compile("[0-9a-f]{64}")
RECORDS = ("calibration", "identity", "trust record", "update state")


class ReadRefusedError(Exception):
    """Raised when a reader refuses, in its own words."""


class AttackedReader(Protocol):
    def read(self, url: str, scene: Scene = NO_SCENE) -> int: ...
    def left(self) -> dict[str, str]: ...


class UpdaterReader:
    """Our updater on a board of its own, over HTTP."""

    def __init__(self, flash: bytes, folder: Path, prepare: Callable[[UpdateDevice], None]) -> None:
        del folder
        self.medium = MemoryFlash(FLASH_BYTES)
        self.medium.content[:] = flash
        self.device = UpdateDevice(
            medium=self.medium, partitions=PARTITIONS, board=QuickBoard(self.medium)
        )
        self.device.board.boot()
        prepare(self.device)

    def read(self, url: str, scene: Scene = NO_SCENE) -> int:
        patience = {"timeout_s": scene.patience_s, "minimum_bytes_per_s": FAST_BYTES_PER_S}
        with closing(HttpTransport(url, attempts=2, **patience)) as transport:
            try:
                while self._session(transport).result is UpdateResult.REBOOT_NEEDED:
                    self.device.board.boot()
            except Refusal as error:
                raise ReadRefusedError(str(error)) from error
        return running_counter(self.device)

    def _session(self, transport):
        return run_session(update_device(self.device, WIDE_RULES), transport)

    def left(self) -> dict[str, str]:
        return flash_left(self.medium)


class CReader(UpdaterReader):
    """The verifier in C, shown what the updater is shown: its code is what it says."""

    def __init__(self, flash, folder, prepare, verifier: CVerifier) -> None:
        super().__init__(flash, folder, prepare)
        self._verifier = verifier

    def _session(self, transport):
        recording, witness = Recording(transport), Witness(self._verifier, self.device)
        trust = self.device.record.trust.load().payload
        try:
            outcome = super()._session(recording)
        except Refusal as refusal:
            raise ReadRefusedError(self._code(refusal, recording, witness, trust)) from refusal
        if outcome.result not in {UpdateResult.INSTALLED, UpdateResult.REVERTED}:
            witness.compare(recording, outcome)
        return outcome

    def _code(self, refusal, recording, witness, trust: bytes) -> str:
        if recording.came.keys() != {"assignment", "other"}:
            return witness.compare(recording, refusal) or f"not about messages: {refusal}"
        # A trust record that follows was shown, and the session ended with it.
        code = self._verifier.code("trust", message=recording.came["other"], current=trust)
        assert code in codes_of(refusal), f"C says {code}, we say {refusal}"
        return code


class GatewayReader(UpdaterReader):
    """A board behind our gateway: TUF first, then everything again on the board."""

    def __init__(self, flash, folder, prepare, root: bytes) -> None:
        super().__init__(flash, folder, prepare)
        self._cache, self._root = folder, root

    def read(self, url: str, scene: Scene = NO_SCENE) -> int:
        board = self.device.board

        def end(outcome) -> None:
            if outcome.result is UpdateResult.REBOOT_NEEDED:
                board.boot()

        relayed = RelayedUpdate(lambda: update_device(self.device, RULES), on_end=end)
        patience = {"timeout_s": scene.patience_s, "minimum_bytes_per_s": FAST_BYTES_PER_S}
        gateway = Gateway(url, trusted_root=self._root, cache=self._cache, **patience)
        with tuf_clock(scene.clock), closing(gateway):
            try:
                gateway.refresh()
                relay_update(Link(relayed.answer), gateway)
            except Refusal as error:
                raise ReadRefusedError(str(error)) from error
        return running_counter(self.device)

    def settle(self, url: str) -> None:
        """Make the files that are made before anything is fetched."""
        with closing(Gateway(url, trusted_root=self._root, cache=self._cache)) as gateway:
            gateway._open_updater()

    def left(self) -> dict[str, str]:
        return flash_left(self.medium) | files_left(self._cache)


class TufReader:
    """A client of TUF alone: assignment, manifest, application and waveform as targets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, url: str, scene: Scene = NO_SCENE) -> int:
        self._open(url, scene)
        if scene.wanted:
            self._read(scene.wanted)
        assignment = parse_assignment(_payload(self._read(ASSIGNMENT)))
        digest = assignment.manifest_sha256.hex()
        manifest = parse_manifest(_payload(self._read(f"manifests/{digest}.cose")))
        for artifact in (manifest.app, manifest.waveform):
            content = self._read(f"artifacts/{artifact.sha256.hex()}")
            assert hashlib.sha256(content).digest() == artifact.sha256
        return manifest.release_counter

    def left(self) -> dict[str, str]:
        return files_left(self._folder)

    def _open(self, url: str, scene: Scene) -> None:
        raise NotImplementedError

    def _read(self, path: str) -> bytes:
        raise NotImplementedError


class PythonTufReader(TufReader):
    """python-tuf's `ngclient`."""

    def __init__(self, folder: Path, root: bytes) -> None:
        super().__init__(folder)
        self._root = root

    def _open(self, url: str, scene: Scene) -> None:
        with tuf_clock(scene.clock):
            self._updater = self._make(url, scene.patience_s)
        self._told(self._updater.refresh)

    def settle(self, url: str) -> None:
        """Make the files that are made before anything is fetched."""
        self._make(url, NO_SCENE.patience_s)

    def _make(self, url: str, patience_s: float) -> Updater:
        return Updater(
            metadata_dir=str(self._folder / "metadata"),
            metadata_base_url=f"{url}/metadata/",
            target_dir=str(self._folder / "targets"),
            target_base_url=f"{url}/targets/",
            fetcher=Urllib3Fetcher(socket_timeout=patience_s),
            bootstrap=self._root,
        )

    def _read(self, path: str) -> bytes:
        entry = self._told(lambda: self._updater.get_targetinfo(path))
        if entry is None:
            raise ReadRefusedError(f"no such target: {path}")
        with open(self._told(lambda: self._updater.download_target(entry)), "rb") as file:  # noqa: PTH123 - a str
            return file.read()

    def _told(self, act):
        try:
            return act()
        except (TufError, DownloadError, HTTPError, ValueError, OSError) as error:
            raise ReadRefusedError(f"{type(error).__name__}: {error}") from error


class TufJsReader(TufReader):
    """tuf-js, in Node.js."""

    def __init__(self, folder: Path, tuf_js: TufJs) -> None:
        super().__init__(folder)
        self._tuf_js = tuf_js

    def _open(self, url: str, scene: Scene) -> None:
        self._tuf_js.ask(
            "open",
            url=url,
            metadataDir=str(self._folder / "metadata"),
            targetDir=str(self._folder / "targets"),
            timeoutMs=round(scene.patience_s * 1000),
            nowMs=None if scene.clock is None else round(scene.clock.timestamp() * 1000),
        )
        self._told("refresh")

    def _read(self, path: str) -> bytes:
        file = self._told("read", path=path)["file"]
        if file is None:
            raise ReadRefusedError(f"no such target: {path}")
        with open(file, "rb") as stream:  # noqa: PTH123 - a str
            return stream.read()

    def _told(self, act: str, **words) -> dict:
        told = self._tuf_js.ask(act, **words)
        if "error" in told:
            raise ReadRefusedError(told["error"])
        return told


def tuf_clock(clock: datetime | None):
    """What python-tuf takes for the present while a client is made; `None` is the true one."""
    from tuf.ngclient._internal import trusted_metadata_set

    if clock is None:
        clock = trusted_metadata_set.datetime.datetime.now(trusted_metadata_set.datetime.UTC)
    return patch.object(
        trusted_metadata_set, "datetime", _Clock(trusted_metadata_set.datetime, clock)
    )


class _Clock:
    def __init__(self, module, now: datetime) -> None:
        self.timezone, self.UTC = module.timezone, module.UTC
        self.datetime = self
        self._now = now

    def now(self, _zone) -> datetime:
        return self._now


def prepare_tuf_folder(folder: Path, root: bytes) -> Path:
    """What every TUF client begins with: the first root, from a trusted place."""
    for name in ("metadata", "targets"):
        (folder / name).mkdir(parents=True)
    (folder / "metadata" / "root.json").write_bytes(root)
    return folder


def running_counter(device: UpdateDevice) -> int:
    """The release that a board has confirmed, after a look at what runs."""
    counter = device.record.load_update_state().release_counter
    assert device.board.running_app == (NEW_APP if counter >= IN_FORCE else OLD_APP)
    return counter


def flash_left(medium: MemoryFlash) -> dict[str, str]:
    """Digests of the partitions of a board, `devrec` by record."""
    left = {}
    for partition in PARTITIONS.partitions:
        content = medium.read(partition.offset_bytes, partition.size_bytes)
        if partition.name != "devrec":
            left[partition.name] = _digest(content)
            continue
        for number, name in enumerate(RECORDS):
            start = number * 2 * SECTOR_BYTES
            left[name] = _digest(content[start : start + 2 * SECTOR_BYTES])
    return left


def files_left(folder: Path) -> dict[str, str]:
    """Digests of the files below a folder, links followed; `*` stands for a digest in a name."""
    left: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = _DIGEST.sub("*", unquote(str(path.relative_to(folder))))
            left[name] = left.get(name, "") + _digest(path.read_bytes())
    return left


def copy_folder(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def _payload(message: bytes) -> bytes:
    return parse_message(message, max_bytes=MESSAGE_MAX_BYTES).payload


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""Has the C verifier judge what an attacked update was shown, and compares it with the updater.

The updater asks its transport for messages; a `Recording` transport keeps what came. Afterwards the
same bytes, and what the device was and remembered before, go to the C verifier's command `update`,
which takes the steps of docs/spec/manifest.md §5 in order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from manifests.manifest import verify_manifest
from manifests.update_outcome import UpdateOutcome, UpdateResult, remembered_word
from signing.canonical_cbor import parse_cbor
from signing.refusal import Refusal
from tests.c_verifier.verdicts import codes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.transfer import Fetch
    from manifests.update_device import UpdateDevice
    from tests.c_verifier.verifier import CVerifier

NOT_OF_MESSAGES = (
    "in a session",
    "battery is too low",
    "no trust record",
    "no identity yet",
    "never calibrated",
    "the server refuses the request",
    "silence",
    "belongs to another board",
)
"""Refusals before or beside the messages: what the firmware around the verifier looks at."""

_RESULTS = {
    UpdateResult.REBOOT_NEEDED: "ok",
    UpdateResult.UP_TO_DATE: "up-to-date",
    UpdateResult.NOT_SELECTED: "not-selected",
    UpdateResult.HALTED: "halted",
}


class Recording:
    """A transport that keeps what came through it, by kind."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.came: dict[str, bytes] = {}
        self.request = b""
        self._slot_path: str | None = None

    def fetch(self, fetch: Fetch) -> bytes:
        content: bytes = self.inner.fetch(fetch)  # type: ignore[attr-defined]
        kind = _kind(fetch.path)
        if kind == "slot":  # piece by piece, and the first artifact that is asked for
            self._slot_path = self._slot_path or fetch.path
            if fetch.path == self._slot_path:
                self.came[kind] = self.came.get(kind, b"") + content
        elif kind == "manifest" and kind in self.came:
            self.came[f"step-{sum(name.startswith('step-') for name in self.came) + 1}"] = content
        else:
            if kind == "assignment":  # another session: its first manifest is the one assigned
                self.came = {k: v for k, v in self.came.items() if not _is_manifest(k)}
            self.came[kind] = content
        if fetch.body is not None:
            self.request = fetch.body
        return content


class Witness:
    """The device as it was before a session, ready to be asked about what the session saw."""

    def __init__(self, verifier: CVerifier, device: UpdateDevice) -> None:
        self._verifier = verifier
        self._device = device
        record, board = device.record, device.board
        trust, calibration = record.trust.load(), record.calibration.load()
        identity = record.load_identity()
        state = record.load_update_state()
        self._is_ready = trust is not None and calibration is not None and identity is not None
        if trust is None or calibration is None or identity is None:
            return
        slot = device.inactive_slot
        self._words: dict[str, bytes | int | str] = {
            "trust": trust.payload,
            "class": board.hardware_class,
            "serial": identity.serial,
            "revision": board.hardware_revision,
            "counter": state.release_counter,
            "assignment-sequence": state.assignment_sequence,
            "freshness-sequence": state.freshness_sequence,
            "policy-version": state.policy_version_floor,
            "secure-version": board.secure_version,
            "app-partition": device.app_partition(slot).size_bytes,
            "slot-partition": device.waveform_partition(slot).size_bytes,
            "running-app": board.running_app_sha256,
            "calibration": _payload_of(calibration.payload),
        }
        word = remembered_word(state)
        if word is not None and word.name.startswith("REVERTED"):
            self._words["given-up"] = state.last_manifest_digest
        partition = device.waveform_partition(board.running_slot)
        self._running_wave = device.medium.read(partition.offset_bytes, partition.size_bytes)

    def compare(self, recording: Recording, ending: Refusal | UpdateOutcome) -> str | None:
        """Return the code that both agree on; `None` where the ending is not about messages.

        Raises:
            AssertionError: The C verifier says otherwise.
        """
        if isinstance(ending, Refusal) and any(part in str(ending) for part in NOT_OF_MESSAGES):
            return None
        assert self._is_ready
        codes = codes_of(ending) if isinstance(ending, Refusal) else {_RESULTS[ending.result]}
        code = self.ask(recording)
        assert code in codes, f"C says {code}, we say {ending}"
        return code

    def ask(self, recording: Recording) -> str:
        """Return the code that the C verifier gives to what came."""
        return str(self._verifier.ask("update", self._words | self._shown(recording))["code"])

    def _shown(self, recording: Recording) -> dict[str, bytes | int | str]:
        came = recording.came
        shown: dict[str, bytes | int | str] = {
            kind: content for kind, content in came.items() if kind not in {"slot", "other"}
        }
        if "freshness" in came:
            nonce = parse_cbor(recording.request, max_bytes=1024)
            assert isinstance(nonce, dict)
            shown["nonce"] = nonce[2]
        steps = [content for kind, content in came.items() if kind.startswith("step-")]
        for word, message in (
            ("running-slot", came.get("manifest", b"")),
            ("step-running-slot", steps[-1] if steps else b""),
        ):
            try:
                manifest = verify_manifest(message, self._device.load_trust())
            except Refusal:
                return shown
            running = self._running_wave[: manifest.waveform.size_bytes]
            shown[word] = hashlib.sha256(running).digest()
            if not steps:
                break
        if "slot" in came:
            shown["slot"] = came["slot"]
        return shown


def witnessed(
    assert_refused: Callable[..., Refusal], verifier: CVerifier
) -> Callable[..., Refusal]:
    """Return a check that an attack is refused, which asks the C verifier as well.

    Args:
        assert_refused: Takes a device, a transport and more, and returns our refusal.
        verifier: The C verifier: it has to refuse the same bytes for the same reason.
    """

    def assert_refused_by_both(
        device: UpdateDevice, transport: object, *args: object, **words: object
    ) -> Refusal:
        recording = Recording(transport)
        witness = Witness(verifier, device)
        refusal = assert_refused(device, recording, *args, **words)
        assert witness.compare(recording, refusal) not in _RESULTS.values()
        return refusal

    return assert_refused_by_both


def _is_manifest(kind: str) -> bool:
    return kind == "manifest" or kind.startswith("step-")


def _kind(path: str) -> str:
    for kind, part in (
        ("assignment", "assignment"),
        ("manifest", "manifests/"),
        ("freshness", "freshness"),
        ("slot", "artifacts/"),
    ):
        if part in path:
            return kind
    return "other"


def _payload_of(signed_record: bytes) -> bytes:
    envelope = parse_cbor(signed_record, max_bytes=4096)
    assert isinstance(envelope, dict)
    message = parse_cbor(envelope["cose"][1:], max_bytes=4096)
    assert isinstance(message, list)
    return bytes(message[2])

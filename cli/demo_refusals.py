"""The demo's last act: three things that must not happen, and what a user is told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.failures import describe_error, format_error
from signing.durable_file import save_durably
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from cli.demo_release import DemoProduct
    from provisioning.simulator.line import SimulatedLine

REFUSED_FOLDER = "refused"
# The negative phase at 0.953125 of its size leaves 0.75 µC of each 125 ms pulse at 400 µA unpaired:
# a mean of 6 µA.
_NEGATIVE_PEAK, _WEAKER_NEGATIVE_PEAK = "= -1", "= -0.953125"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRefusal:
    """One refusal.

    Attributes:
        attempt: What was tried.
        error: What a user is told.
    """

    attempt: str
    error: Refusal

    @property
    def document(self) -> dict[str, object]:
        """The refusal for scripts."""
        return {"attempt": self.attempt, **describe_error(self.error)}


def show_refusals(
    product: DemoProduct, line: SimulatedLine, console: Console
) -> tuple[ShownRefusal, ...]:
    """Try three things, and show how each is refused."""
    from rich.markup import escape

    console.rule("[bold]4  What must not happen, and does not")
    folder = product.folder / REFUSED_FOLDER
    folder.mkdir()
    attempts: tuple[tuple[str, Callable[[], object]], ...] = (
        (
            "approve a waveform that carries 6 µA of direct current",
            lambda: _approve_direct_current(product, folder),
        ),
        (
            "verify a bundle with one flipped bit in its application",
            lambda: _verify_flipped_bit(product, folder),
        ),
        (
            "replay the older release to a board",
            lambda: _replay_older_release(product, line),
        ),
    )
    shown = []
    for attempt, act in attempts:
        refusal = ShownRefusal(attempt=attempt, error=_refusal_of(act))
        console.print(f"[bold]{attempt}[/]")
        console.print(f"[red]{escape(format_error(refusal.error))}[/]\n", soft_wrap=True)
        shown.append(refusal)
    return tuple(shown)


def _refusal_of(act: Callable[[], object]) -> Refusal:
    try:
        act()
    except Refusal as error:
        return error
    raise AssertionError("what must be refused was accepted")


def _approve_direct_current(product: DemoProduct, folder: Path) -> None:
    from firmware_images.limits import judge_table, load_limits, refuse_violations
    from firmware_images.product import ReleaseSettings
    from firmware_images.waveform_files import read_or_compile

    release = product.configuration.section("release", ReleaseSettings)
    head, lift, others = _split_modes(product.root / release.waveforms)
    lift = lift.replace(_NEGATIVE_PEAK, _WEAKER_NEGATIVE_PEAK)
    path = folder / "waveforms-with-6-ua-of-dc.toml"
    save_durably(path, (head + lift + others).encode())
    policy = load_limits(product.root / release.limits)
    table, _ = read_or_compile(path, policy, lambda: product.settings.hardware_class)
    refuse_violations(judge_table(table, policy), where=path)


def _split_modes(path: Path) -> tuple[str, str, str]:
    head, lift, *others = path.read_text(encoding="utf-8").split("[[mode]]")
    return head, f"[[mode]]{lift}", "".join(f"[[mode]]{other}" for other in others)


def _verify_flipped_bit(product: DemoProduct, folder: Path) -> None:
    from cli.demo_release import SECOND_VERSION
    from firmware_images.bundle import verify_bundle
    from firmware_images.bundle_archive import parse_archive, serialize_archive

    # As somebody would do it who means it: the archive's own checksums are made right again.
    members = parse_archive(product.bundle_path(SECOND_VERSION).read_bytes())
    app = bytearray(members["app.bin"])
    app[len(app) // 2] ^= 0x01
    path = folder / "one-flipped-bit.bundle.zip"
    save_durably(path, serialize_archive({**members, "app.bin": bytes(app)}))
    verify_bundle(path.read_bytes(), product.load_trust(), where=str(path))


def _replay_older_release(product: DemoProduct, line: SimulatedLine) -> None:
    from cli.demo_field import OLD_REPOSITORY, serve, update_by_itself

    board = line.slots[0].board
    before = _flash_digest(line)
    try:
        with serve(product, product.folder / OLD_REPOSITORY) as url:
            update_by_itself(board, url)
    finally:
        assert _flash_digest(line) == before, "a refused update leaves the flash as it was"


def _flash_digest(line: SimulatedLine) -> bytes:
    flash = line.slots[0].board.flash
    return hashlib.sha256(flash.read(0, flash.size_bytes)).digest()

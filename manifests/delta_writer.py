"""Makes the application from the one that runs and a patch, in the slot that does not run.

The patch is kept in the sectors of that slot behind the image, so it needs no memory and no
partition of its own, and is verified as it is read back from flash before a byte of it is looked
at. What it makes is written, resumed and judged like a full image (`slot_writer`): the bytes are
the same, so either may go on where the other was cut. Implements docs/spec/delta.md §6.

Whatever is wrong with a delta costs its download: the caller then takes the full image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.delta_applying import apply_patch
from firmware_images.errors import DeltaError
from firmware_images.flash_medium import SECTOR_BYTES
from manifests.errors import UpdateRefusedError
from manifests.slot_writer import (
    Artifact,
    erase_slot,
    holds,
    stream_into_slot,
    whole_sectors,
    write_frontier,
    write_sectors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition
    from manifests.manifest import DeltaFacts
    from manifests.transfer import Fetch
    from manifests.update_sources import Release


def find_delta(
    medium: FlashMedium, running: Partition, target: Partition, release: Release
) -> DeltaFacts | None:
    """Return the release's delta from exactly what runs, if its patch has room behind the image.

    Args:
        medium: The flash.
        running: The slot that runs.
        target: The slot that does not.
        release: What is to be installed.
    """
    room_bytes = target.size_bytes - whole_sectors(release.app.size_bytes)
    for delta in release.manifest.deltas:
        base = Artifact(size_bytes=delta.base_size_bytes, sha256=delta.base_sha256)
        if whole_sectors(delta.patch_size_bytes) <= room_bytes and holds(medium, running, base):
            return delta
    return None


def write_by_delta(
    medium: FlashMedium,
    running: Partition,
    target: Partition,
    app: Artifact,
    delta: DeltaFacts,
    *,
    resume: bool,
    chunk_bytes: int,
    before_chunk: Callable[[], None],
) -> Generator[Fetch, bytes, bool]:
    """Bring the application into a slot by its delta; whether that worked.

    Args:
        medium: The flash.
        running: The slot that runs: the base.
        target: The slot that does not.
        app: What is to lie in it.
        delta: The delta that `find_delta` found.
        resume: Whether an earlier run began to write this very release here.
        chunk_bytes: Whole sectors that are asked for at a time.
        before_chunk: Called before each piece; raises when the device is needed for its user.

    Raises:
        UpdateRefusedError: The device is needed for its user.
    """
    patch = Artifact(size_bytes=delta.patch_size_bytes, sha256=delta.patch_sha256)
    start_bytes = whole_sectors(app.size_bytes)
    shelf = replace(
        target,
        offset_bytes=target.offset_bytes + start_bytes,
        size_bytes=target.size_bytes - start_bytes,
    )
    try:
        was_there = resume and holds(medium, shelf, patch)
        if not was_there:
            yield from stream_into_slot(
                medium,
                shelf,
                patch,
                resume=resume,
                chunk_bytes=chunk_bytes,
                before_chunk=before_chunk,
            )
        # Only after the patch was whole did an earlier run begin to write the image.
        for goes_on in (True, False) if was_there else (False,):
            pieces = apply_patch(
                _reader(medium, shelf),
                patch.size_bytes,
                _reader(medium, running),
                delta.base_size_bytes,
                result_size_bytes=app.size_bytes,
                encoding=delta.encoding,
            )
            _write_pieces(medium, target, app, pieces, goes_on=goes_on, before_sector=before_chunk)
            if holds(medium, target, app):
                return True
    except (DeltaError, UpdateRefusedError):
        # A device that is needed for its user has refused, too: it must not begin anew.
        before_chunk()
    return False


def _write_pieces(
    medium: FlashMedium,
    target: Partition,
    app: Artifact,
    pieces: Iterator[bytes],
    *,
    goes_on: bool,
    before_sector: Callable[[], None],
) -> None:
    """Write what a patch makes, sector by sector; what is there already is made and passed over."""
    start_bytes = 0
    if goes_on:
        start_bytes = write_frontier(medium, target, app.size_bytes)
        # The sector at the frontier may be torn, and flash bits are only set by an erase.
        medium.erase(target.offset_bytes + start_bytes, SECTOR_BYTES)
    else:
        erase_slot(medium, target, app.size_bytes)
    for number, sector in enumerate(_in_sectors(pieces)):
        offset_bytes = number * SECTOR_BYTES
        if offset_bytes >= start_bytes:
            before_sector()
            write_sectors(medium, target, offset_bytes, sector)


def _in_sectors(pieces: Iterator[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= SECTOR_BYTES:
            yield bytes(waiting[:SECTOR_BYTES])
            del waiting[:SECTOR_BYTES]
    if waiting:
        yield bytes(waiting)


def _reader(medium: FlashMedium, partition: Partition) -> Callable[[int, int], bytes]:
    return lambda offset_bytes, size_bytes: medium.read(
        partition.offset_bytes + offset_bytes, size_bytes
    )

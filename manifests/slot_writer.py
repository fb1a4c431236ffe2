"""Writes an image into a slot so that a cut at any moment costs time and nothing else.

The needed sectors are erased first, then written in rising order, each read back before the next.
So after a cut everything behind the last sector that is not erased is still to do, and the writer
goes on from there: at that sector, which may be torn. What finally counts is the SHA-256 over the
whole image as it is read back from the flash, never over what was received
(docs/spec/manifest.md §6).

This module is never given the slot that runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.flash_medium import ERASED_BYTE, SECTOR_BYTES
from manifests.errors import UpdateRefusedError
from manifests.transfer import Fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition

READ_BYTES = 16 * SECTOR_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What is to lie in a slot, as the manifest says."""

    size_bytes: int
    sha256: bytes

    @property
    def path(self) -> str:
        """Where every server and gateway keeps it: by its digest."""
        return f"device/artifacts/{self.sha256.hex()}"


def read_digest(medium: FlashMedium, partition: Partition, size_bytes: int) -> bytes:
    """Return the SHA-256 of the first bytes of a partition, as they are in flash."""
    digest = hashlib.sha256()
    for offset_bytes in range(0, size_bytes, READ_BYTES):
        length = min(READ_BYTES, size_bytes - offset_bytes)
        digest.update(medium.read(partition.offset_bytes + offset_bytes, length))
    return digest.digest()


def holds(medium: FlashMedium, partition: Partition, artifact: Artifact) -> bool:
    """Whether a partition holds exactly the artifact, by digest over its bytes in flash."""
    return (
        artifact.size_bytes <= partition.size_bytes
        and read_digest(medium, partition, artifact.size_bytes) == artifact.sha256
    )


def erase_slot(medium: FlashMedium, partition: Partition, size_bytes: int) -> None:
    """Erase the sectors that an image of this size needs."""
    for offset_bytes in range(0, whole_sectors(size_bytes), SECTOR_BYTES):
        medium.erase(partition.offset_bytes + offset_bytes, SECTOR_BYTES)


def write_frontier(medium: FlashMedium, partition: Partition, size_bytes: int) -> int:
    """Return from which offset an interrupted write goes on: the last sector that was begun."""
    erased = bytes([ERASED_BYTE]) * SECTOR_BYTES
    for offset_bytes in range(whole_sectors(size_bytes) - SECTOR_BYTES, -1, -SECTOR_BYTES):
        if medium.read(partition.offset_bytes + offset_bytes, SECTOR_BYTES) != erased:
            return offset_bytes
    return 0


def write_sectors(
    medium: FlashMedium, partition: Partition, offset_bytes: int, content: bytes
) -> None:
    """Write into erased sectors and read back.

    Raises:
        UpdateRefusedError: The flash did not keep the bytes.
    """
    place_bytes = partition.offset_bytes + offset_bytes
    medium.write(place_bytes, content)
    if medium.read(place_bytes, len(content)) != content:
        raise UpdateRefusedError(
            "the flash did not keep what was written",
            where=f"partition {partition.name}, offset {offset_bytes:#x}",
            hint="the flash sector may be worn out: send the unit to a service station",
        )


def stream_into_slot(
    medium: FlashMedium,
    partition: Partition,
    artifact: Artifact,
    *,
    resume: bool,
    chunk_bytes: int,
    before_chunk: Callable[[], None],
) -> Generator[Fetch, bytes, None]:
    """Bring an artifact into a slot, chunk by chunk, going on where an earlier run was cut.

    Args:
        medium: The flash.
        partition: The slot; large enough.
        artifact: What is to lie there.
        resume: Whether an earlier run began to write this very artifact here.
        chunk_bytes: Whole sectors that are asked for at a time.
        before_chunk: Called before each chunk; raises when the device is needed for its user.

    Raises:
        UpdateRefusedError: The bytes are not the artifact's, or the flash did not keep them.
    """
    start_bytes = 0
    if resume:
        start_bytes = write_frontier(medium, partition, artifact.size_bytes)
        # The sector at the frontier may be torn, and flash bits are only set by an erase.
        medium.erase(partition.offset_bytes + start_bytes, SECTOR_BYTES)
    else:
        erase_slot(medium, partition, artifact.size_bytes)
    for offset_bytes in range(start_bytes, artifact.size_bytes, chunk_bytes):
        before_chunk()
        wanted_bytes = min(chunk_bytes, artifact.size_bytes - offset_bytes)
        content = yield Fetch(
            path=artifact.path, offset_bytes=offset_bytes, max_bytes=wanted_bytes, is_part=True
        )
        refuse_wrong_length(content, wanted_bytes, where=f"{artifact.path}, {offset_bytes:#x}")
        write_sectors(medium, partition, offset_bytes, content)
    digest = read_digest(medium, partition, artifact.size_bytes)
    if digest == artifact.sha256:
        return
    if resume:
        # What an earlier run left was not a prefix of this artifact: begin anew, once.
        yield from stream_into_slot(
            medium,
            partition,
            artifact,
            resume=False,
            chunk_bytes=chunk_bytes,
            before_chunk=before_chunk,
        )
        return
    raise UpdateRefusedError(
        "the image that was written is not the one that the manifest names",
        expected=f"SHA-256 {artifact.sha256.hex()}",
        got=digest.hex(),
        where=f"partition {partition.name}, read back",
        hint="nothing was switched; the source of the bytes is damaged or hostile",
    )


def write_whole(
    medium: FlashMedium, partition: Partition, artifact: Artifact, content: bytes
) -> None:
    """Erase and write an image that was verified in memory, and read it back.

    Nothing may follow it: what an earlier, longer image left behind it is erased, too.

    Raises:
        UpdateRefusedError: The flash did not keep the bytes.
    """
    erase_slot(medium, partition, artifact.size_bytes)
    _blank_behind(medium, partition, artifact.size_bytes)
    for offset_bytes in range(0, artifact.size_bytes, SECTOR_BYTES):
        piece = content[offset_bytes : offset_bytes + SECTOR_BYTES]
        write_sectors(medium, partition, offset_bytes, piece)


def _blank_behind(medium: FlashMedium, partition: Partition, size_bytes: int) -> None:
    blank = bytes([ERASED_BYTE]) * SECTOR_BYTES
    for offset_bytes in range(whole_sectors(size_bytes), partition.size_bytes, SECTOR_BYTES):
        place_bytes = partition.offset_bytes + offset_bytes
        if medium.read(place_bytes, SECTOR_BYTES) != blank:
            medium.erase(place_bytes, SECTOR_BYTES)
            if medium.read(place_bytes, SECTOR_BYTES) != blank:
                raise UpdateRefusedError(
                    "the flash did not give up what lay behind the image",
                    where=f"partition {partition.name}, offset {offset_bytes:#x}",
                    hint="the flash sector may be worn out: send the unit to a service station",
                )


def copy_slot(
    medium: FlashMedium, source: Partition, target: Partition, artifact: Artifact
) -> None:
    """Copy an image from one slot into another within the flash, and read it back.

    Raises:
        UpdateRefusedError: The flash did not keep the bytes.
    """
    erase_slot(medium, target, artifact.size_bytes)
    for offset_bytes in range(0, artifact.size_bytes, READ_BYTES):
        length = min(READ_BYTES, artifact.size_bytes - offset_bytes)
        piece = medium.read(source.offset_bytes + offset_bytes, length)
        write_sectors(medium, target, offset_bytes, piece)


def refuse_wrong_length(content: bytes, wanted_bytes: int, *, where: str) -> None:
    """Refuse an answer that is shorter or longer than the resource must be.

    Raises:
        UpdateRefusedError: The length differs.
    """
    if len(content) != wanted_bytes:
        raise UpdateRefusedError(
            "the server sent another number of bytes than the manifest promises",
            expected=f"{wanted_bytes} bytes",
            got=f"{len(content)} bytes",
            where=where,
        )


def whole_sectors(size_bytes: int) -> int:
    """Return the bytes of the sectors that so many bytes need."""
    return -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES

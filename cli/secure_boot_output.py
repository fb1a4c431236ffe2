"""What signatures for the chip's own keys look like, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.efuse_digests import BoardKeys
    from firmware_images.signature_sector import SignatureBlock


def describe_blocks(blocks: Sequence[SignatureBlock]) -> list[dict[str, str]]:
    """Return signature blocks for scripts."""
    return [
        {
            "algorithm": str(block.public_key.algorithm),
            "key_id": block.public_key.key_id.hex(),
            "key_digest": block.key_digest.hex(),
        }
        for block in blocks
    ]


def format_blocks(blocks: Sequence[SignatureBlock]) -> str:
    """Return signature blocks for people, a line each."""
    return "\n".join(
        f"  signature {number}  {block.public_key.algorithm}, key digest {block.key_digest.hex()}"
        for number, block in enumerate(blocks)
    )


def describe_boards(
    boards: Sequence[BoardKeys], refusing: Sequence[BoardKeys]
) -> list[dict[str, object]]:
    """Return for scripts which boards accept what was signed."""
    return [
        {"name": board.name, "secure_boot": board.is_enabled, "accepts": board not in refusing}
        for board in boards
    ]


def format_boards(boards: Sequence[BoardKeys], refusing: Sequence[BoardKeys], *, what: str) -> str:
    """Return for people which boards accept what was signed."""
    lines = []
    for board in boards:
        if board in refusing:
            verdict = f"REFUSES the {what}: it holds none of these keys"
        elif board.is_enabled:
            verdict = f"accepts the {what}"
        else:
            verdict = f"takes any {what}: Secure Boot is off"
        lines.append(f"  {board.name}  {verdict}")
    lines.append(f"{len(refusing)} of {len(boards)} boards would refuse the {what}")
    return "\n".join(lines)

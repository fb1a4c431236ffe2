"""What a delta is said to be, as a document and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.delta import Delta
    from firmware_images.delta_format import PatchEncoding


def describe_delta(delta: Delta) -> dict[str, object]:
    """Return a delta as a document for scripts."""
    return {
        "base_size_bytes": delta.base_size_bytes,
        "base_sha256": delta.base_sha256.hex(),
        "patch_size_bytes": len(delta.patch),
        "patch_sha256": delta.patch_sha256.hex(),
        "result_size_bytes": delta.result_size_bytes,
        "result_sha256": delta.result_sha256.hex(),
        "percent": round(delta.percent, 2),
        "is_worthwhile": delta.is_worthwhile,
        **_describe_encoding(delta.encoding),
        "tried": [
            {**_describe_encoding(encoding), "patch_size_bytes": size_bytes}
            for encoding, size_bytes in delta.tried
        ],
    }


def format_delta(delta: Delta, *, base: str, new: str, output: Path | None) -> str:
    """Return a delta as a person reads it.

    Args:
        delta: The delta.
        base: What its base is called.
        new: What its result is called.
        output: The file that the patch was written to, if it was.
    """
    lines = [
        f"{format_worth(delta)} ({base} to {new})",
        f"  base    {delta.base_size_bytes:>9,} bytes  {delta.base_sha256.hex()}",
        f"  patch   {len(delta.patch):>9,} bytes  {delta.patch_sha256.hex()}",
        f"  result  {delta.result_size_bytes:>9,} bytes  {delta.result_sha256.hex()}",
        f"  {delta.encoding}; applied and compared",
    ]
    if len(delta.tried) > 1:
        lines += [f"  tried   {size:>9,} bytes  {encoding}" for encoding, size in delta.tried]
    lines.append("  no patch was written" if output is None else f"  wrote {output}")
    return "\n".join(lines)


def format_worth(delta: Delta) -> str:
    """Return in a few words how small a patch is, and what follows."""
    from firmware_images.delta import FULL_IMAGE_ABOVE_PERCENT

    if delta.is_worthwhile:
        return f"a delta of {delta.percent:.1f} % of the full image"
    return (
        f"the full image is better: the patch is {delta.percent:.1f} % of it, "
        f"above {FULL_IMAGE_ABOVE_PERCENT} %"
    )


def _describe_encoding(encoding: PatchEncoding) -> dict[str, object]:
    return {
        "kind": str(encoding.kind),
        "compression": str(encoding.compression),
        "window_bits": encoding.window_bits,
        "lookahead_bits": encoding.lookahead_bits,
    }

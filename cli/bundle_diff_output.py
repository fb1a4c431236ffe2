"""What `ampforge bundle diff` prints for people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from cli.waveform_diff_commands import format_changes
from firmware_images.waiver_text import format_waiver

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from firmware_images.bundle_diff import BundleDiff, ReleaseChange, Value
    from firmware_images.release_view import ReleaseView

_SHOWN_DIGITS = 16
_DIGEST_DIGITS = 64
_NAME_WIDTH = 28
_SIZE_SUFFIX = "_bytes"


def format_diff(diff: BundleDiff, *, now: datetime) -> str:
    """Return a comparison as lines: who signed, what it means, then everything that changed.

    Args:
        diff: The comparison.
        now: The present, UTC; marks waivers that have expired.
    """
    lines = [
        *_format_release("from", diff.before, now=now),
        *_format_release("to", diff.after, now=now),
    ]
    if diff.is_same:
        return "\n".join([*lines, "the same release: nothing changed"])
    lines += ["", "what it means", *(f"  {remark}" for remark in diff.remarks)]
    if not diff.remarks:
        lines[-1] = "nothing that keeps a board from going from the first to the second"
    for section, changes in groupby(diff.changes, key=lambda change: change.section):
        lines += ["", section, *_format_section(changes)]
    if diff.waveform:
        lines += ["", "waveform", *(f"  {line}".rstrip() for line in format_changes(diff.waveform))]
    else:
        lines += ["", "waveform", "  every mode and level as before"]
    return "\n".join(_make_printable(line) for line in lines)


def _make_printable(line: str) -> str:
    # A bundle that nobody verified must not write to the terminal in its own way.
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _format_release(word: str, view: ReleaseView, *, now: datetime) -> list[str]:
    statement = view.statement
    head = f"{statement.product} {statement.version}, release counter {statement.release_counter}"
    if view.is_verified:
        keys = ", ".join(sorted(key_id.hex()[:_SHOWN_DIGITS] for key_id in view.signed_by))
        standing = f"verified, signed by {keys}"
    else:
        standing = f"NOT VERIFIED: {'; '.join(view.problems)}"
        if view.kids:
            standing += f"; claims keys {', '.join(kid.hex() for kid in view.kids)}"
    waived = (format_waiver(waiver.to_json(), now=now) for waiver in view.contents.waivers)
    return [
        f"{word:<5}{head}, {view.size_bytes} bytes",
        f"     {standing}",
        *(f"     {line}" for line in waived),
    ]


def _format_section(changes: Iterable[ReleaseChange]) -> list[str]:
    lines: list[str] = []
    for subject, entries in groupby(changes, key=lambda change: change.subject):
        indent = "  "
        if subject:
            lines.append(f"  {subject}")
            indent = "    "
        lines += [indent + _format_change(change) for change in entries]
    return lines


def _format_change(change: ReleaseChange) -> str:
    if change.what in {"added", "removed"}:
        return f"{change.what}: {_show(change.before if change.after is None else change.after)}"
    name = change.what.removesuffix(_SIZE_SUFFIX).replace("_", " ")
    unit = " bytes" if change.what.endswith(_SIZE_SUFFIX) else ""
    text = f"{name:<{_NAME_WIDTH}}{_show(change.before)} → {_show(change.after)}{unit}"
    if unit and isinstance(change.before, int) and isinstance(change.after, int):
        text += f"   ({change.after - change.before:+d})"
    return text


def _show(value: Value) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        # Two digests are told apart by their beginning; everything else is shown whole.
        return f"{value[:_SHOWN_DIGITS]}…" if len(value) == _DIGEST_DIGITS else value
    return str(value)

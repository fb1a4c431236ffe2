"""The status of a repository as a person reads it, and times in words.

The document that is put into words is that of `repository_status`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_NOBODY = "nobody has to act"
_ROLE_WORDS = {
    "root": "who may sign what",
    "targets": "the list of releases",
    "campaign": "who installs what",
    "snapshot": "which of these belong together",
    "timestamp": "that this is the present",
}


def format_status(status: dict[str, object]) -> str:
    """Return a status as a person reads it."""
    lines = [f"repository of {status['product']}"]
    if status["allows_test_keys"]:
        lines.append("  accepts test keys: never point customers' devices at it")
    superseded = status["superseded_keys"]
    assert isinstance(superseded, list)
    lines += [
        f"  {words}"
        for words in (*superseded, status["trust_words"], status["list_words"])
        if words
    ]
    releases, assignments = status["releases"], status["assignments"]
    withdrawn = status["withdrawn"]
    assert isinstance(withdrawn, list)
    documents = status["documents"]
    assert isinstance(releases, list)
    assert isinstance(assignments, list)
    assert isinstance(documents, list)
    lines.append("releases")
    for entry in releases:
        facts = f"counter {entry['release_counter']}, {entry['hardware_class']}"
        lines.append(f"  {entry['version']}  ({facts})")
        told = [f"manifest {entry['expiry']}"] if entry["expires_soon"] else []
        told += [entry["refused"]] if entry["refused"] else []
        lines += [f"    {words}" for words in (*entry["waived"], *entry["constraints"], *told)]
    if not releases and not withdrawn:
        lines.append("  none yet: publish one with `ampforge repo publish BUNDLE`")
    for entry in withdrawn:
        facts = f"counter {entry['release_counter']}, {entry['hardware_class']}"
        said = f"WITHDRAWN {entry['withdrawn_at'][:10]}: {entry['reason']}"
        lines.append(f"  {entry['version']}  ({facts})  {said}")
    lines.append("assignments")
    for entry in assignments:
        lines.append(f"  {entry['hardware_class']}: {entry['words']}; {entry['expiry']}")
        lines += [f"    {words}" for words in (entry["refused"], entry["steps"]["words"]) if words]
    if not assignments:
        lines.append("  none: no device installs anything")
    lines.append("signed documents")
    lines += [
        f"  {entry['name']:<10} says {_ROLE_WORDS[entry['name']]}; {entry['expiry']}"
        for entry in documents
    ]
    return "\n".join(lines)


def expiry_in_words(expires_at: datetime, now: datetime, remedy: str) -> str:
    """Return when something expires, and who must do what before that; without `remedy` nobody."""
    left = expires_at - now
    at = f"{expires_at:%Y-%m-%d %H:%M} UTC"
    if left <= timedelta(0):
        return f"EXPIRED {_duration(-left)} ago, at {at}: {remedy or _NOBODY}"
    words = f"{remedy} before that" if remedy else _NOBODY
    return f"expires in {_duration(left)}, at {at}: {words}"


def _duration(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span.days} days"
    hours, rest_s = divmod(int(span.total_seconds()), 3600)
    return f"{hours} h" if hours >= 2 else f"{hours * 60 + rest_s // 60} min"  # noqa: PLR2004 - below two hours minutes matter

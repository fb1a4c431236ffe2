"""Which sequence the next assignment of a hardware class has: one that no other ever had.

A publication that was cut off may have shown devices an assignment that its timestamp never came
to name. Were its sequence given again, freshness would name both, and whoever kept the first could
pass it off as the second: a campaign for a halt. So the campaign documents that lie behind the one
in force are asked, too: each names what was signed with it, and is written before anybody can see
that (docs/spec/repository-layout.md §4). Nothing is written here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuf.api.metadata import Targets  # type: ignore[attr-defined]  # public, without __all__

from manifests.assignment import following_sequence
from manifests.errors import RepositoryError
from manifests.metadata_room import METADATA_MAX_BYTES
from manifests.published_releases import assignment_target_path
from manifests.tuf_metadata import CAMPAIGN, parse_document, verify_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from tuf.api.metadata import Metadata

    from manifests.assignment import Assignment
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata

_PASSED = "passed_sequences"


def next_sequence(
    store: Store, current: RepositoryMetadata, hardware_class: str, listed: Assignment | None
) -> int:
    """Return the sequence after the last one that was signed for a hardware class.

    Args:
        store: The repository.
        current: Its verified state.
        hardware_class: Boards that the assignment is for.
        listed: The assignment that the state lists for it; `None` if there is none.

    Raises:
        RepositoryError: A document cannot be read.
    """
    passed = _passed_sequences(store, current)
    last = 0 if listed is None else listed.sequence
    return following_sequence(passed.get(assignment_target_path(hardware_class), last))


def carry_passed(
    store: Store, current: RepositoryMetadata, campaign: Metadata[Targets], assigned: Iterable[str]
) -> None:
    """Have the next campaign document tell what was cut off before it, for who comes after.

    Otherwise what was cut off for one hardware class would be forgotten with the next assignment
    of another one, or with the next root.

    Args:
        store: The repository.
        current: Its verified state.
        campaign: The document that follows, not signed yet.
        assigned: Target paths of the assignments that it lists anew: those count from themselves.

    Raises:
        RepositoryError: A document cannot be read.
    """
    passed = _passed_sequences(store, current)
    for path in assigned:
        passed.pop(path, None)
    if passed:
        campaign.signed.unrecognized_fields[_PASSED] = passed


def succeed_assignment(
    store: Store, current: RepositoryMetadata, assignment: Assignment, *, now: datetime
) -> Assignment:
    """Return the assignment that follows a listed one and says the same: issued now.

    Args:
        store: The repository.
        current: Its verified state.
        assignment: What that lists.
        now: The present, UTC.

    Raises:
        RepositoryError: A document cannot be read.
    """
    sequence = next_sequence(store, current, assignment.hardware_class, assignment)
    return replace(assignment, sequence=sequence, issued_at_s=int(now.timestamp()))


def _passed_sequences(store: Store, current: RepositoryMetadata) -> dict[str, int]:
    """Return the last sequence of each assignment target that was signed beyond the listed one."""
    listed = _sequences_of(current.campaign)
    passed = _told_by(current.campaign)
    for document in _list_cut(store, current):
        passed |= _told_by(document)
        # One that lists what is listed anyway signed nothing for this class. After the last
        # sequence comes the first, so the later document counts and not the larger number.
        passed |= {
            path: sequence
            for path, sequence in _sequences_of(document).items()
            if sequence != listed.get(path)
        }
    return passed


def _sequences_of(document: Metadata[Targets]) -> dict[str, int]:
    told = {
        path: (entry.custom or {}).get("sequence")
        for path, entry in document.signed.targets.items()
    }
    return {path: sequence for path, sequence in told.items() if isinstance(sequence, int)}


def _told_by(document: Metadata[Targets]) -> dict[str, int]:
    told = document.signed.unrecognized_fields.get(_PASSED)
    if not isinstance(told, dict):
        return {}
    return {path: sequence for path, sequence in told.items() if isinstance(sequence, int)}


def _list_cut(store: Store, current: RepositoryMetadata) -> Iterator[Metadata[Targets]]:
    """Yield the campaign documents behind the one in force, by the version, that campaign signed.

    Nothing names them. One that does not verify was put there by somebody else, or by a key that
    was replaced since, with which boards begin to count anew.
    """
    version = current.campaign.signed.version
    while True:
        version += 1
        path = f"metadata/{version}.{CAMPAIGN}.json"
        content = store.read(path, max_bytes=METADATA_MAX_BYTES)
        if content is None:
            return
        try:
            document = parse_document(CAMPAIGN, content, Targets, where=path)
            verify_document(CAMPAIGN, document, current.targets, hint="")
        except RepositoryError:
            continue
        yield document

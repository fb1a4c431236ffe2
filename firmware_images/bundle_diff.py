"""What changed from one release to another, for a reviewer who decides whether to sign it.

Everything that is not the same is one `ReleaseChange` in one of the sections of `SECTIONS`; what a
change means for boards in the field is a remark in words. What this module does not do: find out
what the code of two applications does differently, or decide. Implements
docs/spec/release-statement-and-bundle.md §7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.bundle_contents import PROVENANCE, SBOM
from firmware_images.bundle_diff_components import state_components
from firmware_images.bundle_diff_remarks import find_remarks
from firmware_images.bundle_inspection import describe_release
from firmware_images.limits_policy import format_value
from firmware_images.provenance import read_tool_versions
from firmware_images.waveform_diff import Change, diff_waveforms
from firmware_images.waveform_sides import state_table
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from firmware_images.esp_image import EspImage
    from firmware_images.limits_policy import LimitsPolicy, SourcedValue
    from firmware_images.partitions import PartitionTable
    from firmware_images.release_statement import ReleaseStatement
    from firmware_images.release_view import ReleaseView
    from firmware_images.waiver import LimitWaiver

SCHEMA: Final = "ampforge.bundle-diff/1"
SECTIONS: Final = (
    "release",
    "app",
    "policy",
    "waivers",
    "partitions",
    "components",
    "tools",
    "parts",
)

Value = int | str | bool | None
Facts = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseChange:
    """One statement that is not the same in both releases.

    Attributes:
        section: One of `SECTIONS`.
        subject: What it is said of: a rule, partition, part, segment; the section itself if empty.
        what: What is said, with its unit; `added` or `removed` for a subject of one release only.
        before: In the first release.
        after: In the second release.
    """

    section: str
    subject: str
    what: str
    before: Value
    after: Value

    def to_json(self) -> dict[str, Value]:
        """The change for scripts; the section is the key that it stands under."""
        return {
            "subject": self.subject,
            "what": self.what,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDiff:
    """Two releases and everything in which they differ.

    Attributes:
        before: The first release.
        after: The second release.
        changes: In the order of `SECTIONS`.
        waveform: What a device would play differently.
        remarks: What the changes mean for boards and reviewers.
    """

    before: ReleaseView
    after: ReleaseView
    changes: tuple[ReleaseChange, ...]
    waveform: tuple[Change, ...]
    remarks: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether both are one release; their signatures may still differ."""
        return self.before.digest == self.after.digest

    def to_json(self) -> dict[str, object]:
        """The document, versioned by `schema`."""
        return {
            "schema": SCHEMA,
            "same": self.is_same,
            "before": _describe_release(self.before),
            "after": _describe_release(self.after),
            **{
                section: [c.to_json() for c in self.changes if c.section == section]
                for section in SECTIONS
            },
            "waveform": [change.to_json() for change in self.waveform],
            "remarks": list(self.remarks),
        }


def diff_bundles(before: ReleaseView, after: ReleaseView) -> BundleDiff:
    """Everything that is not the same in two releases, read by `release_view.read_release`."""
    one, other = before.contents, after.contents
    pairs = {
        "release": (_state_release(before.statement), _state_release(after.statement)),
        "app": (_state_app(one.image), _state_app(other.image)),
        "policy": (_state_policy(one.policy), _state_policy(other.policy)),
        "waivers": (_state_waivers(one.waivers), _state_waivers(other.waivers)),
        "partitions": (
            _state_partitions(one.partition_table),
            _state_partitions(other.partition_table),
        ),
        "components": (
            state_components(before.parts.get(SBOM)),
            state_components(after.parts.get(SBOM)),
        ),
        "tools": (_state_tools(before), _state_tools(after)),
        "parts": (_state_parts(before.statement), _state_parts(after.statement)),
    }
    return BundleDiff(
        before=before,
        after=after,
        changes=tuple(
            change for section in SECTIONS for change in compare_subjects(section, *pairs[section])
        ),
        waveform=diff_waveforms(state_table(one.waveform_table), state_table(other.waveform_table)),
        remarks=find_remarks(before, after),
    )


def compare_subjects(
    section: str, before: Mapping[str, Facts], after: Mapping[str, Facts]
) -> Iterator[ReleaseChange]:
    """Compares what is said of each subject, in the first release's order, then the second's."""
    for subject in dict.fromkeys((*before, *after)):
        one, other = before.get(subject), after.get(subject)
        if one is None or other is None:
            yield ReleaseChange(
                section=section,
                subject=subject,
                what="added" if one is None else "removed",
                before=None if one is None else _summarize(one),
                after=None if other is None else _summarize(other),
            )
            continue
        for what in dict.fromkeys((*one, *other)):
            if one.get(what) != other.get(what):
                yield ReleaseChange(
                    section=section,
                    subject=subject,
                    what=what,
                    before=one.get(what),
                    after=other.get(what),
                )


def _summarize(facts: Facts) -> str:
    return ", ".join(f"{what} {value}" for what, value in facts.items() if value is not None)


def _describe_release(view: ReleaseView) -> dict[str, object]:
    statement = view.statement
    return {
        "product": statement.product,
        "version": statement.version,
        "release_counter": statement.release_counter,
        "digest": view.digest.hex(),
        "size_bytes": view.size_bytes,
        "verified": view.is_verified,
        "problems": list(view.problems),
        "waivers": [waiver.to_json() for waiver in view.contents.waivers],
        "signatures": [kid.hex() for kid in view.kids],
        "signed_by": sorted(key_id.hex() for key_id in view.signed_by),
    }


def _state_release(statement: ReleaseStatement) -> dict[str, Facts]:
    return {"": describe_release(statement)}


def _state_app(image: EspImage) -> dict[str, Facts]:
    facts: Facts = {
        "project_name": image.project_name,
        "version": image.version,
        "secure_version": image.secure_version,
        "idf_version": image.idf_version,
        "build_date": image.build_date,
        "size_bytes": image.size_bytes,
        "min_chip_revision": image.min_chip_revision,
        "max_chip_revision": image.max_chip_revision,
        "entry_point": f"{image.entry_point:#010x}",
        "signature_bytes": image.signature_bytes,
        "elf_sha256": None if image.elf_sha256 is None else image.elf_sha256.hex(),
        "image_sha256": image.image_sha256.hex(),
    }
    segments: dict[str, Facts] = {
        f"segment {number}": {"address": f"{s.address:#010x}", "size_bytes": s.size_bytes}
        for number, s in enumerate(image.segments, start=1)
    }
    return {"": facts} | segments


def _state_policy(policy: LimitsPolicy) -> dict[str, Facts]:
    subjects: dict[str, Facts] = {
        "": {"name": policy.name, "version": policy.version, "digest": policy.digest.hex()}
    }
    for noun, figures in (("limit", policy.limits), ("fact", policy.facts)):
        subjects |= {f"{noun} {key}": _state_figure(figure) for key, figure in figures.items()}
    for name, mode in policy.modes.items():
        facts: Facts = {
            "balance": str(mode.balance),
            "regulation": str(mode.regulation),
            "slope_limited": mode.is_slope_limited,
        }
        claim = _state_figure(mode.claim)
        subjects[f"mode {name}"] = facts | {f"claim_{what}": claim[what] for what in claim}
    return subjects


def _state_waivers(waivers: Sequence[LimitWaiver]) -> dict[str, Facts]:
    # By what is waived: issued again for another table, a waiver shows as what differs in it.
    return {
        f"{waiver.place} ({waiver.limit_key})": {
            what: value
            for what, value in waiver.to_json().items()
            if isinstance(value, str) and what not in ("rule", "limit_key", "mode", "digest")
        }
        for waiver in waivers
    }


def _state_figure(figure: SourcedValue) -> Facts:
    return {
        "value": f"{format_value(figure.value)} {figure.unit}",
        "source": figure.source,
        "checked_by": figure.checked_by,
    }


def _state_partitions(table: PartitionTable) -> dict[str, Facts]:
    return {
        p.name: {
            "offset_bytes": p.offset_bytes,
            "size_bytes": p.size_bytes,
            "type": p.type,
            "subtype": p.subtype,
            "flags": p.flags,
        }
        for p in table.partitions
    }


def _state_tools(view: ReleaseView) -> dict[str, Facts]:
    return {"": dict(read_tool_versions(view.parts.get(PROVENANCE)))}


def _state_parts(statement: ReleaseStatement) -> dict[str, Facts]:
    return {
        name: {"size_bytes": part.size_bytes, "sha256": part.sha256.hex()}
        for name, part in sorted(statement.parts.items())
    }

"""From a signed bundle to what the field reads: manifest, assignment, artifacts, TUF targets.

Everything is derived from one verified bundle, so gateways (TUF) and devices (COSE) are told the
same thing; each message is verified as a device would before it is written. Publishing the same
release again changes nothing but the assignment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.waiver_judging import refuse_out_of_force
from manifests.assignment import SALT_BYTES, Assignment
from manifests.assignment_file import build_assignment_file
from manifests.assignment_sequence import next_sequence
from manifests.errors import RepositoryError
from manifests.manifest import (
    MANIFEST_CONTENT_TYPE,
    Manifest,
    message_digest,
    serialize_manifest,
    verify_manifest,
)
from manifests.metadata_room import FILL_MAX
from manifests.publication import AssignmentPlan, Publication
from manifests.published_releases import (
    PublishedRelease,
    find_release,
    list_releases,
    read_listed_assignment,
    refuse_step_back,
)
from manifests.publisher_clock import refuse_wrong_clock
from manifests.release_admission import (
    expires_at,
    find_same,
    is_first_constrained,
    judge_secure_version,
    refuse_expired,
    refuse_expired_waivers,
    refuse_more_devices,
    refuse_unsupported,
)
from manifests.release_deltas import make_release_deltas, refuse_missing_deltas
from manifests.release_files import build_release_files, derive_manifest
from manifests.release_steps import plan_steps, refuse_gaps
from manifests.release_verdict import verify_table
from manifests.repository import NewFile, publish_files
from manifests.repository_reading import load_repository, read_target
from manifests.withdrawal import refuse_withdrawn, refuse_withdrawn_version
from signing.cose import sign_many
from signing.refusal import refusing_in
from signing.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from manifests.manifests_settings import RepositorySettings
    from manifests.release_deltas import DeltaPlan
    from manifests.release_steps import StepPlan
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.signers import Signer
    from signing.trust_record import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """A repository and what it takes to publish to it.

    Attributes:
        store: The repository's files.
        trust: The product's trust record.
        signers: Private keys by role.
        settings: For how long what is signed holds.
        draw_bytes: Source of unpredictable bytes, for salts.
        secure_version_bits: What the product uses of its chip's anti-rollback field; `None` for
            all of it.
    """

    store: Store
    trust: TrustRecord
    signers: Mapping[Role, Sequence[Signer]]
    settings: RepositorySettings
    draw_bytes: Callable[[int], bytes]
    secure_version_bits: int | None = None

    def publish_bundle(
        self,
        untrusted_bytes: bytes,
        plan: AssignmentPlan | None,
        *,
        now: datetime,
        delta_plan: DeltaPlan | None = None,
        where: str = "bundle",
    ) -> Publication:
        """Verify a bundle, publish its release, and assign it.

        Args:
            untrusted_bytes: The bundle file.
            plan: Who installs it; `None` assigns it to every device.
            now: The present, UTC.
            delta_plan: Which deltas to publish with it; `None` publishes the full image alone.
            where: The bundle's file, for messages.

        Raises:
            SigningError, FirmwareImageError: The bundle, or a delta's base, is refused.
            RepositoryError: Another release has its counter, a later one is published, its support
                has ended, nothing published leads to it, or it is published already and assigned
                to fewer devices.
            SecureVersionError: Its secure version is beyond the product's budget.
            WaiverError: What of the limits was waived no longer is.
        """
        bundle = verify_bundle(untrusted_bytes, self.trust, where=where)
        with refusing_in(where):
            refuse_out_of_force(bundle.waivers, now=now)
        statement = bundle.statement
        refuse_unsupported(statement.version, statement.constraints, now=now)
        deltas = make_release_deltas(bundle, delta_plan, self.trust) if delta_plan else ()
        plan = plan or AssignmentPlan()
        if not plan.campaign:
            plan = replace(plan, campaign=f"release {statement.version}"[:48])
        with self.store.exclusively():
            current = load_repository(self.store)
            refuse_withdrawn(current, bundle_sha256=bundle.digest)
            known = list_releases(current)
            cost = judge_secure_version(
                self.store, current, known, statement, bits=self.secure_version_bits
            )
            published = find_same(current, known, bundle)
            if published is not None:
                running = read_listed_assignment(self.store, current, published.hardware_class)
                refuse_more_devices(running, published, plan)
                message = read_target(
                    self.store, current.targets.signed.targets[published.target_path]
                )
                releases: tuple[NewFile, ...] = ()
            else:
                until = expires_at(now, self.settings.lifetime("manifest"), statement.constraints)
                message = self.sign_manifest(
                    derive_manifest(bundle, issued_at=now, expires_at=until, deltas=deltas)
                )
                releases = build_release_files(bundle, message, untrusted_bytes, deltas)
            manifest = verify_manifest(message, self.trust)
            refuse_expired(manifest, now=now)
            refuse_wrong_clock(self.store, current, self.settings, now=now)
            way = plan_steps(self.store, current, self.trust, known, manifest, now=now)
            refuse_missing_deltas(deltas, manifest)
            if releases:
                refuse_step_back(self.store, current, known, manifest)
                refuse_gaps(way, known, manifest)
            digest = message_digest(message)
            publication = self._put_in_force(
                current, plan, manifest, way, manifest_sha256=digest, releases=releases, now=now
            )
        return replace(
            publication,
            cost=cost if releases else None,
            is_first_constrained=bool(releases) and is_first_constrained(known, manifest),
            waivers=tuple(waiver.to_json() for waiver in bundle.waivers),
            deltas=deltas,
        )

    def publish_plan(
        self,
        version: str,
        plan: AssignmentPlan,
        *,
        now: datetime,
        hardware_class: str | None = None,
        release_counter: int | None = None,
    ) -> Publication:
        """Assign a release that is published already.

        Args:
            version: The release's version.
            plan: Who installs it.
            now: The present, UTC.
            hardware_class: Which boards; needed where the version is published for several.
            release_counter: Which release of several with that version, if not the latest.

        Raises:
            RepositoryError: No such release is published, its support has ended, or its manifest or
                a waiver of it has expired; those three do not keep a plan from halting.
            SigningError, FirmwareImageError: Devices refuse its manifest or, unless the plan halts,
                its table.
        """
        with self.store.exclusively():
            current = load_repository(self.store)
            refuse_withdrawn_version(current, version, hardware_class)
            published = find_release(
                current, version, hardware_class, release_counter=release_counter
            )
            return self.assign_release(current, published, plan, now=now)

    def assign_release(
        self,
        current: RepositoryMetadata,
        published: PublishedRelease,
        plan: AssignmentPlan,
        *,
        now: datetime,
    ) -> Publication:
        """Assign a published release by a plan that was made from the state it follows.

        The caller holds `store.exclusively()`, and read that state since.

        Args:
            current: The state.
            published: The release.
            plan: Who installs it.
            now: The present, UTC.

        Raises:
            RepositoryError: As `publish_plan` says.
        """
        if not plan.is_halted:
            refuse_expired_waivers(published, now=now)
        message = read_target(self.store, current.targets.signed.targets[published.target_path])
        manifest = verify_manifest(message, self.trust)
        if not plan.is_halted:
            refuse_unsupported(published.version, manifest.constraints, now=now)
            refuse_expired(manifest, now=now)
            verify_table(self.store, current, self.trust, manifest)
            refuse_wrong_clock(self.store, current, self.settings, now=now)
        releases = list_releases(current)
        way = plan_steps(self.store, current, self.trust, releases, manifest, now=now)
        digest = published.manifest_sha256
        publication = self._put_in_force(
            current, plan, manifest, way, manifest_sha256=digest, now=now
        )
        return replace(publication, waivers=published.waivers)

    def renew(self, *, now: datetime) -> RepositoryMetadata:
        """Sign snapshot and timestamp again, so that the repository does not expire.

        Raises:
            RepositoryError: The repository is damaged, or that cannot be the present.
        """
        with self.store.exclusively():
            before = load_repository(self.store)
            refuse_wrong_clock(self.store, before, self.settings, now=now)
            return publish_files(self.store, self.signers, self.settings, before=before, now=now)

    def sign_manifest(self, manifest: Manifest) -> bytes:
        """Sign a manifest with the release keys; whoever calls verifies it as a device does."""
        return sign_many(
            serialize_manifest(manifest),
            self._signers(Role.RELEASE),
            content_type=MANIFEST_CONTENT_TYPE,
        )

    def _put_in_force(
        self,
        current: RepositoryMetadata,
        plan: AssignmentPlan,
        manifest: Manifest,
        way: StepPlan,
        *,
        manifest_sha256: bytes,
        now: datetime,
        releases: tuple[NewFile, ...] = (),
    ) -> Publication:
        """Publish the assignment of a release, with the release's own files where it is new."""
        assignment = self._assign(
            current, plan, manifest, way, manifest_sha256=manifest_sha256, now=now
        )
        publish_files(
            self.store,
            self.signers,
            self.settings,
            before=current,
            releases=releases,
            fill_max=FILL_MAX if releases else 1,
            assignments=(self.assignment_file(assignment, current),),
            now=now,
        )
        return Publication(
            manifest=manifest,
            manifest_sha256=manifest_sha256,
            assignment=assignment,
            is_new_release=bool(releases),
            way=way,
        )

    def _assign(
        self,
        current: RepositoryMetadata,
        plan: AssignmentPlan,
        manifest: Manifest,
        way: StepPlan,
        *,
        manifest_sha256: bytes,
        now: datetime,
    ) -> Assignment:
        # By the key of its day: after that was revoked, sequence and draw must still go on.
        previous = read_listed_assignment(self.store, current, manifest.hardware_class)
        keeps_draw = previous is not None and previous.campaign == plan.campaign
        lifetime = self.settings.lifetime("campaign")
        ends_at = (
            now + lifetime if plan.is_halted else expires_at(now, lifetime, manifest.constraints)
        )
        return Assignment(
            product=self.trust.product,
            hardware_class=manifest.hardware_class,
            sequence=next_sequence(self.store, current, manifest.hardware_class, previous),
            manifest_sha256=manifest_sha256,
            campaign=plan.campaign,
            salt=previous.salt if previous and keeps_draw else self.draw_bytes(SALT_BYTES),
            drawn_ppm=plan.drawn_ppm,
            pinned_serial_numbers=tuple(sorted(set(plan.pinned_serial_numbers))),
            is_halted=plan.is_halted,
            issued_at_s=int(now.timestamp()),
            expires_at_s=int(ends_at.timestamp()),
            steps_sha256=() if plan.is_halted else way.manifests_sha256(),
        )

    def assignment_file(self, assignment: Assignment, current: RepositoryMetadata) -> NewFile:
        """Sign an assignment that follows a state, and return its file."""
        signer = self._signers(Role.CAMPAIGN)[0]
        return build_assignment_file(assignment, signer, self.trust, current)

    def _signers(self, role: Role) -> Sequence[Signer]:
        signers = self.signers.get(role, ())
        if not signers:
            raise RepositoryError(
                f"no private key of the role {role} is at hand",
                expected=f"keys for {role}",
                got="none",
                hint=f"name them as signer in [signing.roles.{role}]",
            )
        return signers

"""A scratch copy of a product for a drill: the same roles and thresholds, with keys of its own.

Of the product it reads what is public: the trust record, the release's parts. No private key of the
product is opened, and nothing is written outside the scratch folder.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from firmware_images.approval import build_approval, sign_approval
from firmware_images.bundle_building import BundleInputs, build_bundle, sign_bundle
from firmware_images.image_input import load_image_input
from firmware_images.limits import load_limits
from firmware_images.limits_policy import serialize_policy
from firmware_images.partitions import load_partition_table
from firmware_images.product import ProductSettings, ReleaseSettings
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_source import load_waveforms
from firmware_images.waveform_table import serialize_waveform_table
from manifests.manifests_settings import RepositorySettings
from manifests.publishing import Publisher
from manifests.repository import init_repository
from manifests.store import FolderStore
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.input_file import is_present
from signing.keys import Algorithm
from signing.roles import Role, RoleKeys
from signing.roles_settings import SigningSettings
from signing.signers import SoftwareSigner
from signing.trust import sign_trust_record
from signing.trust_file import load_trust_record
from signing.trust_record import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cli.configuration import Configuration
    from firmware_images.partitions import PartitionTable
    from firmware_images.waveform import WaveformTable
    from signing.signers import Signer

_NEEDED = (
    Role.POLICY,
    Role.RELEASE,
    Role.CAMPAIGN,
    Role.FRESHNESS,
    Role.TIMESTAMP,
    Role.SNAPSHOT,
)
Keys = dict[Role, "tuple[SoftwareSigner, ...]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What releases of the drill are made of: the product's own parts."""

    app: bytes
    version: str | None
    table: WaveformTable
    policy: bytes
    partition_table: PartitionTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """The drill's factory: its CA, and one station."""

    ca: SoftwareSigner
    ca_der: bytes
    station: SoftwareSigner
    station_der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillWorld:
    """The scratch copy.

    Attributes:
        folder: The scratch folder.
        product: Section `[product]`.
        parts: What releases are made of.
        keys: The drill's private keys by role, as many as the product's record has.
        record: The trust record as it stands before the theft.
        signed_record: The same, signed.
        factory: CA and station.
        device_key: The device's own key.
        now: The present.
        made: Bundles that were built already.
        flash_content: A board's flash as the factory leaves it; empty until it was composed.
    """

    folder: Path
    product: ProductSettings
    parts: Parts
    keys: Keys
    record: TrustRecord
    signed_record: bytes
    factory: Factory
    device_key: SoftwareSigner
    now: datetime
    made: dict[tuple[int, tuple[bytes, ...]], bytes] = field(default_factory=dict)
    flash_content: bytearray = field(default_factory=bytearray)

    @property
    def expires(self) -> datetime:
        """Until when what is signed in the drill claims to hold."""
        return self.now + timedelta(days=30)

    @property
    def repository(self) -> Path:
        """The scratch repository."""
        return self.folder / "repository"

    def enough(self, role: Role, *, without: Signer | None = None) -> tuple[SoftwareSigner, ...]:
        """Return as many keys of a role as must sign, in the record's order of making."""
        held = [key for key in self.keys[role] if key is not without]
        return tuple(held[: self.record.keys_of(role).threshold])

    def publisher(self, record: TrustRecord, keys: Mapping[Role, Sequence[Signer]]) -> Publisher:
        """Return what publishes to the scratch repository with these keys."""
        return Publisher(
            store=FolderStore(self.repository),
            trust=record,
            signers=keys,
            settings=RepositorySettings(),
            draw_bytes=secrets.token_bytes,
        )

    def release(
        self, counter: int, *, policy: Sequence[Signer], release: Sequence[Signer]
    ) -> bytes:
        """Return a signed bundle; each counter has a table that differs from the one before."""
        signers = tuple(key.public_key.key_id for key in (*policy, *release))
        if (counter, signers) not in self.made:
            self.made[counter, signers] = self._build_release(counter, policy, release)
        return self.made[counter, signers]

    def _build_release(
        self, counter: int, policy: Sequence[Signer], release: Sequence[Signer]
    ) -> bytes:
        table_bytes = serialize_waveform_table(_shortened(self.parts.table, counter))
        inputs = BundleInputs(
            product=self.product.name,
            version=self.parts.version,
            release_counter=counter,
            hardware_class=self.product.hardware_class,
            hardware_revision_min=self.product.hardware_revision_min,
            hardware_revision_max=self.product.hardware_revision_max,
            chip=self.product.chip,
            flash_size_bytes=self.product.flash_size_bytes,
            app=self.parts.app,
            table=table_bytes,
            approval=sign_approval(build_approval(table_bytes), policy),
            policy=self.parts.policy,
            partition_table=self.parts.partition_table,
        )
        return sign_bundle(build_bundle(inputs), release)


def make_key(algorithm: Algorithm = Algorithm.ECDSA_P256) -> SoftwareSigner:
    """Make a key of the drill, in memory, marked as a test key."""
    made = SoftwareSigner.generate(algorithm)
    return SoftwareSigner(
        made.private_key,
        where="a drill's key",
        is_test_key=True,
        allowed=frozenset({algorithm}),
    )


def make_world(configuration: Configuration, folder: Path, *, now: datetime) -> DrillWorld:
    """Build the scratch copy: keys, trust record, repository with one release.

    Args:
        configuration: The product's `ampforge.toml`.
        folder: An empty scratch folder.
        now: The present, UTC.

    Raises:
        Refusal: A part of the product is not acceptable by itself.
    """
    product = configuration.section("product", ProductSettings)
    keys, shape = _make_keys(configuration, product)
    factory = _make_factory(now)
    record = replace(shape, factory_ca_der=factory.ca_der)
    return DrillWorld(
        folder=folder,
        product=product,
        parts=_load_parts(configuration, product),
        keys=keys,
        record=record,
        signed_record=sign_trust_record(record, keys[Role.ROOT]),
        factory=factory,
        device_key=make_key(),
        now=now,
    )


def open_repository(world: DrillWorld) -> Publisher:
    """Make the scratch repository, empty, and return its publisher."""
    publisher = world.publisher(world.record, world.keys)
    init_repository(
        publisher.store,
        world.record,
        publisher.signers,
        publisher.settings,
        now=world.now,
        allows_test_keys=True,
    )
    return publisher


def _make_keys(configuration: Configuration, product: ProductSettings) -> tuple[Keys, TrustRecord]:
    settings = configuration.section("signing", SigningSettings)
    path = configuration.resolve(settings.trust_record)
    current = load_trust_record(path) if is_present(path) else None
    held = dict(settings.load_role_keys(configuration.root) if current is None else current.roles)
    algorithms = {role: [key.algorithm for key in roles.keys] for role, roles in held.items()}
    keys: Keys = {
        role: tuple(map(make_key, algorithms.get(role, [Algorithm.ECDSA_P256])))
        for role in {**held, **dict.fromkeys(_NEEDED)}
    }
    record = TrustRecord(
        product=product.name,
        version=1 if current is None else current.version,
        roles={
            role: RoleKeys(
                threshold=held[role].threshold if role in held else 1,
                keys=tuple(key.public_key for key in made),
            )
            for role, made in keys.items()
        },
        minimum_policy_version=0 if current is None else current.minimum_policy_version,
        revoked_key_ids=frozenset() if current is None else current.revoked_key_ids,
    )
    return keys, record


def _make_factory(now: datetime) -> Factory:
    ca, station = make_key(), make_key()
    begin = now - timedelta(days=1)
    ca_der = create_ca_certificate(ca, common_name="drill factory CA", not_before=begin)
    return Factory(
        ca=ca,
        ca_der=ca_der,
        station=station,
        station_der=issue_station_certificate(
            ca, ca_der, station.public_key, station_name="drill station", not_before=begin
        ),
    )


def _load_parts(configuration: Configuration, product: ProductSettings) -> Parts:
    release = configuration.section("release", ReleaseSettings)
    root = configuration.root
    policy = load_limits(root / release.limits)
    waveforms = load_waveforms(root / release.waveforms)
    taken = load_image_input(root / release.app, chip=product.chip)
    return Parts(
        app=taken.content,
        version=release.version or (None if taken.image.version else "drill"),
        table=compile_table(waveforms, policy, product.hardware_class),
        policy=serialize_policy(policy),
        partition_table=load_partition_table(root / release.partitions),
    )


def _shortened(table: WaveformTable, counter: int) -> WaveformTable:
    """Return a table that differs with each counter and asks for no more than the product's."""
    modes = tuple(
        replace(mode, session_ticks=mode.session_ticks - (counter - 1)) for mode in table.modes
    )
    return replace(table, modes=modes)

"""The demo's first act: a product folder, test keys, approved tables, two signed releases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cli.configuration import FILE_NAME, load_configuration
from cli.init_command import copy_example, sign_first_trust_record
from cli.signing_keys import open_signers
from signing.durable_file import save_durably
from signing.roles import Role

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from cli.configuration import Configuration
    from firmware_images.product import ProductSettings, ReleaseSettings
    from provisioning.station_settings import StationSettings
    from signing.roles_settings import SigningSettings
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

FIRST_VERSION, SECOND_VERSION = "1.4.0", "1.5.0"
# The second release turns TIGHTEN's top level down, so that app and table change together.
SECOND_RELEASE_EDIT = (
    "levels_ua = [50, 100, 150, 200, 250]",
    "levels_ua = [50, 100, 150, 200, 240]",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProduct:
    """The product folder of the demo and what was made in it.

    Attributes:
        folder: The demo's folder.
        configuration: The product's `ampforge.toml`.
    """

    folder: Path
    configuration: Configuration

    @property
    def root(self) -> Path:
        """The product's folder."""
        return self.configuration.root

    @property
    def settings(self) -> ProductSettings:
        """Section `[product]`."""
        from firmware_images.product import ProductSettings

        return self.configuration.section("product", ProductSettings)

    @property
    def signing(self) -> SigningSettings:
        """Section `[signing]`."""
        from signing.roles_settings import SigningSettings

        return self.configuration.section("signing", SigningSettings)

    @property
    def station(self) -> StationSettings:
        """Section `[station]`."""
        from cli.station_access import load_station_settings

        return load_station_settings(self.configuration)

    @property
    def station_folder(self) -> Path:
        """The station's folder: ledger, factory CA, station key."""
        return self.configuration.resolve(self.station.folder)

    @property
    def trust_path(self) -> Path:
        """The signed trust record."""
        return self.configuration.resolve(self.signing.trust_record)

    def load_trust(self) -> TrustRecord:
        """Return the trust record, verified."""
        from signing.trust_file import load_trust_record

        return load_trust_record(self.trust_path)

    def signers(self, role: Role) -> tuple[Signer, ...]:
        """Return the private keys of a role."""
        return open_signers(role, configuration=self.configuration, passphrase=None)

    def bundle_path(self, version: str) -> Path:
        """Where the signed bundle of a version lies."""
        return self.root / "build" / f"{self.settings.name}-{version}.bundle.zip"


def make_product(folder: Path, console: Console) -> DemoProduct:
    """Copy the example, make its keys and trust, and set up the factory's ledger and CA."""
    console.rule("[bold]1  A product: waveforms, limits, firmware, keys")
    root = folder / "product"
    copy_example(root)
    *keys, _ = sign_first_trust_record(root)
    product = DemoProduct(folder=folder, configuration=load_configuration(root / FILE_NAME))
    console.print(f"example product [bold]flare[/] and {len(keys)} marked test keys in {root}")
    _create_station(product, console)
    _build_release(product, console, FIRST_VERSION, counter=1)
    waveforms = root / "waveforms.toml"
    edited = waveforms.read_text(encoding="utf-8").replace(*SECOND_RELEASE_EDIT)
    save_durably(waveforms, edited.encode())
    _build_release(product, console, SECOND_VERSION, counter=2)
    return product


def _create_station(product: DemoProduct, console: Console) -> None:
    import uuid

    from cli.clock import utc_now
    from provisioning.station_files import CA_CERTIFICATE_NAME
    from provisioning.station_founding import create_station
    from signing.trust import sign_trust_record, verify_trust_record
    from signing.trust_file import next_trust_record

    create_station(
        product.station_folder,
        product=product.settings.name,
        station_name=product.station.name,
        ledger_uuid=str(uuid.uuid4()),
        now=utc_now(),
        passphrase=None,
        is_test_key=True,
    )
    current = product.load_trust()
    record = next_trust_record(
        current,
        product=current.product,
        roles=current.roles,
        minimum_policy_version=1,
        factory_ca_der=(product.station_folder / CA_CERTIFICATE_NAME).read_bytes(),
    )
    signed = sign_trust_record(record, product.signers(Role.ROOT))
    verify_trust_record(signed, current=current)
    save_durably(product.trust_path, signed)
    console.print(
        "factory CA and ledger made; trust record 2 signed by 2 of 3 root keys: "
        "policies from version 1 on, releases by 2 of 3 keys"
    )


def _build_release(product: DemoProduct, console: Console, version: str, *, counter: int) -> None:
    from firmware_images.bundle import verify_bundle
    from firmware_images.bundle_building import build_bundle, sign_bundle
    from firmware_images.product import ReleaseSettings
    from firmware_images.release_inputs import load_release_inputs

    release = replace(
        product.configuration.section("release", ReleaseSettings),
        app=f"firmware/images/{product.settings.name}-{version}.bin",
        release_counter=counter,
    )
    findings = _approve_table(product, release)
    trust = product.load_trust()
    inputs = load_release_inputs(product.root, product.settings, release, trust=trust)
    unsigned = build_bundle(inputs)
    assert unsigned == build_bundle(inputs), "unsigned content is the same when built twice"
    signers = product.signers(Role.RELEASE)
    signed = sign_bundle(unsigned, signers, trust=trust)
    bundle = verify_bundle(signed, trust)
    path = product.bundle_path(version)
    save_durably(path, signed)
    modes = ", ".join(mode.name for mode in bundle.waveform_table.modes)
    console.print(
        f"release [bold]{version}[/]: {modes} within all {findings} limits, approved by policy, "
        f"signed by {len(signers)} release keys -> {path.name} ({path.stat().st_size} bytes)"
    )


def _approve_table(product: DemoProduct, release: ReleaseSettings) -> int:
    from firmware_images.approval import build_approval, sign_approval
    from firmware_images.limits import judge_table, load_limits, refuse_violations
    from firmware_images.waveform_files import read_or_compile

    policy = load_limits(product.root / release.limits)
    source = product.root / release.waveforms
    table, table_bytes = read_or_compile(source, policy, lambda: product.settings.hardware_class)
    findings = judge_table(table, policy)
    refuse_violations(findings, where=source)
    path = product.root / release.approval
    path.parent.mkdir(parents=True, exist_ok=True)
    save_durably(path, sign_approval(build_approval(table_bytes), product.signers(Role.POLICY)))
    return len(findings)

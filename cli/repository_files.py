"""What `repo`, `campaign` and `serve` take from `ampforge.toml`: repository, trust and keys."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cli.failures import UsageRefusal
from cli.secure_version_ledgers import product_bits
from cli.signing_keys import open_signers
from manifests.manifests_settings import RepositorySettings, ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cli.configuration import Configuration
    from manifests.publishing import Publisher
    from manifests.store import Store
    from signing.roles import Role
    from signing.trust_record import TrustRecord


def load_repository_settings(configuration: Configuration) -> RepositorySettings:
    """Return `[repository]`, or its defaults where it is left out."""
    if configuration.has_section("repository"):
        return configuration.section("repository", RepositorySettings)
    return RepositorySettings()


def open_store(configuration: Configuration) -> Store:
    """Return where the repository lies: `[repository] bucket` if there is one, else its folder.

    Raises:
        RepositoryError: The bucket's address cannot be read, or the extra is not installed.
    """
    settings = load_repository_settings(configuration)
    if settings.bucket:
        from manifests.s3_address import parse_s3_address
        from manifests.s3_store import S3Store

        return S3Store(parse_s3_address(settings.bucket, endpoint=settings.endpoint))
    from manifests.store import FolderStore

    return FolderStore(configuration.resolve(settings.folder))


def load_serve_settings(configuration: Configuration) -> ServeSettings:
    """Return `[serve]`, or its defaults where it is left out."""
    if configuration.has_section("serve"):
        return configuration.section("serve", ServeSettings)
    return ServeSettings()


def reports_path_of(configuration: Configuration) -> Path:
    """Return where `serve` keeps its reports; none may lie there yet."""
    from manifests.manifests_settings import ServeSettings

    return configuration.resolve(configuration.section("serve", ServeSettings).reports)


def find_trust_record(configuration: Configuration) -> Path:
    """Return the file of the product's signed trust record.

    Raises:
        UsageRefusal: There is none.
    """
    from signing.roles_settings import SigningSettings

    path = configuration.resolve(configuration.section("signing", SigningSettings).trust_record)
    if not path.is_file():
        raise UsageRefusal(
            "there is no trust record",
            expected="the file that [signing] trust_record names",
            where=path,
            hint="make one with `ampforge trust sign`",
        )
    return path


def load_trust(configuration: Configuration) -> TrustRecord:
    """Return the product's trust record, verified.

    Raises:
        UsageRefusal: There is none.
        TrustError: It does not verify.
    """
    from signing.trust_file import load_trust_record

    return load_trust_record(find_trust_record(configuration))


def open_publisher(
    configuration: Configuration, roles: Iterable[Role], *, passphrase: Callable[[str], bytes]
) -> Publisher:
    """Return the configured repository and the keys to publish to it with."""
    from manifests.publishing import Publisher

    settings = load_repository_settings(configuration)
    return Publisher(
        store=open_store(configuration),
        trust=load_trust(configuration),
        signers={
            role: open_signers(role, configuration=configuration, passphrase=passphrase)
            for role in roles
        },
        settings=settings,
        draw_bytes=secrets.token_bytes,
        secure_version_bits=product_bits(configuration),
    )

"""`ampforge repo export-suit | verify-suit`: releases for tools that speak SUIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    FILE,
    config_option,
    hardware_class_option,
    json_option,
    make_folder,
    passphrase_file_option,
    passphrase_source,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from manifests.suit_identity import SuitIdentity

KEY_MAX_BYTES = 65_536


@click.command(
    "export-suit", epilog="Example: ampforge repo export-suit 1.5.0 --output flare-1.5.0.suit"
)
@click.argument("version", metavar="RELEASE")
@click.option("-o", "--output", type=FILE, required=True, help="Envelope to write.")
@click.option(
    "--vendor-domain",
    help="Your domain, for vendor and class identifiers (default: [suit] vendor_domain).",
)
@click.option(
    "--base-url",
    help="Where the repository is served (default: [suit] base_url, else relative paths).",
)
@click.option("--key", "keys", multiple=True, help="Release key: file or URI (default: [signing]).")
@hardware_class_option
@config_option
@passphrase_file_option
@json_option
def export_suit(
    *,
    version: str,
    output: Path,
    vendor_domain: str | None,
    base_url: str | None,
    keys: tuple[str, ...],
    hardware_class: str | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write a published release as a SUIT envelope, for tools that do not know our messages.

    draft-ietf-suit-manifest-37, one COSE_Sign1 by each release key. Digests, sizes and places of
    application and waveform image are those of the release's manifest; hardware revisions, step and
    end of support become conditions. Our own boards take no envelope: SUIT has no word for the
    limits policy, the verified span or freshness.
    """
    from cli.repository_files import load_trust, open_store
    from cli.signing_keys import open_signers
    from manifests.release_admission import load_current_manifest
    from manifests.repository import refuse_test_keys
    from manifests.repository_reading import load_description
    from manifests.suit_export import export_release
    from signing.durable_file import save_durably
    from signing.roles import Role

    configuration = load_configuration(config_path)
    identity = _load_identity(configuration, vendor_domain, base_url)
    store, trust = open_store(configuration), load_trust(configuration)
    now = utc_now()
    manifest = load_current_manifest(store, trust, version, now=now, hardware_class=hardware_class)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the release key")
    signers = open_signers(
        Role.RELEASE, configuration=configuration, keys=keys, passphrase=passphrase
    )
    allows_test_keys = load_description(store)["allows_test_keys"] is True
    refuse_test_keys({Role.RELEASE: signers}, allows_test_keys=allows_test_keys)
    content = export_release(manifest, identity, signers, trust)
    make_folder(output.parent)
    save_durably(output, content)
    revisions = range(manifest.hardware_revision_min, manifest.hardware_revision_max + 1)
    class_ids = {
        str(revision): str(identity.class_id(manifest.hardware_class, revision))
        for revision in revisions
    }
    document = {
        "schema": "ampforge.suit-export/1",
        "path": str(output),
        "size_bytes": len(content),
        "version": manifest.version,
        "sequence_number": manifest.release_counter,
        "hardware_class": manifest.hardware_class,
        "vendor_id": str(identity.vendor_id),
        "class_ids": class_ids,
        "signatures": len({signer.public_key.key_id for signer in signers}),
    }
    classes = "".join(
        f"\n  class  {class_id}  {manifest.hardware_class}, revision {revision}"
        for revision, class_id in class_ids.items()
    )
    human = (
        f"wrote {output}: release {manifest.version}, SUIT sequence number "
        f"{manifest.release_counter}, {len(content)} bytes\n"
        f"  vendor {identity.vendor_id}  {identity.vendor_domain}{classes}"
    )
    print_result(document, human, as_json=as_json)


@click.command("verify-suit", epilog="Example: ampforge repo verify-suit flare-1.5.0.suit")
@click.argument("envelope_path", metavar="ENVELOPE", type=EXISTING_FILE)
@click.option(
    "--key",
    "key_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="Public key, PEM, of another maker; all of them must have signed "
    "(default: the release role of the trust record).",
)
@click.option("--unverified", is_flag=True, help="Show it whoever signed it; never act on it.")
@config_option
@json_option
def verify_suit(
    *,
    envelope_path: Path,
    key_paths: tuple[Path, ...],
    unverified: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Verify a SUIT envelope, of ours or of another maker, and show what it says.

    In this order: length, signatures, digest of the manifest, fields. Nothing of it is executed.
    """
    from cli.repository_files import load_trust
    from cli.station_access import read_file
    from manifests.suit_envelope import parse_suit_envelope, verify_suit_envelope
    from manifests.suit_export import verify_release_envelope
    from manifests.suit_manifest import ENVELOPE_MAX_BYTES
    from manifests.suit_words import describe_envelope, format_envelope
    from signing.keys import parse_public_key
    from signing.refusal import refusing_in

    # One byte more than there may be, so that the reader is the one that says so.
    content = read_file(envelope_path, max_bytes=ENVELOPE_MAX_BYTES + 1)
    signed_by: frozenset[bytes] | None = None
    if unverified:
        if key_paths:
            raise UsageRefusal(
                "keys are for verifying, and nothing is to be verified",
                expected="--key or --unverified",
                got="both",
                where=envelope_path,
                hint="leave out --unverified to verify it with these keys",
            )
        with refusing_in(envelope_path):
            envelope = parse_suit_envelope(content)
    elif key_paths:
        parsed = {
            key.key_id: key
            for path in key_paths
            for key in (
                parse_public_key(read_file(path, max_bytes=KEY_MAX_BYTES), where=str(path)),
            )
        }
        with refusing_in(envelope_path):
            envelope, signed_by = verify_suit_envelope(
                content, parsed.values(), threshold=len(parsed)
            )
    else:
        trust = load_trust(load_configuration(config_path))
        with refusing_in(envelope_path):
            envelope, signed_by = verify_release_envelope(content, trust)
    document = describe_envelope(envelope, signed_by)
    print_result(document, format_envelope(document), as_json=as_json)


def _load_identity(
    configuration: Configuration, vendor_domain: str | None, base_url: str | None
) -> SuitIdentity:
    from manifests.manifests_settings import SuitSettings
    from manifests.suit_identity import SuitIdentity

    settings = None
    if configuration.has_section("suit"):
        settings = configuration.section("suit", SuitSettings)
    domain = vendor_domain or (settings and settings.vendor_domain)
    if not domain:
        raise UsageRefusal(
            "SUIT names devices by their maker's domain, and none is given",
            expected="[suit] vendor_domain, or --vendor-domain",
            got="neither",
            where=configuration.path,
            hint='add `[suit]` with `vendor_domain = "your.domain"`; it stays the same for ever',
        )
    if base_url is None:
        base_url = settings.base_url if settings else ""
    return SuitIdentity(vendor_domain=domain, base_url=base_url)

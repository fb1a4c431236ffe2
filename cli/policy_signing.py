"""What the verbs of `ampforge policy` share: whose keys sign, and how the file is saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import count_of
from cli.output_file import refuse_input_as_output
from cli.params import make_folder, passphrase_source
from cli.signing_keys import open_signers

if TYPE_CHECKING:
    from cli.release_defaults import ReleaseDefaults
    from firmware_images.limits import LimitsPolicy
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    help="Private key of the policy role; may repeat (default: [signing.roles.policy] signer).",
)
add_option = click.option(
    "--add",
    "is_added",
    is_flag=True,
    help="Add this signature to those in the output file, for a threshold above one.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSignature:
    """What was saved, for the verb to print.

    Attributes:
        document: Its part of the JSON document.
        status: The same in words.
    """

    document: dict[str, object]
    status: str


def load_current_policy(
    defaults: ReleaseDefaults, limits_path: Path | None, *, output: Path | None
) -> tuple[LimitsPolicy, TrustRecord | None]:
    """Return the limits policy, if something may be signed under its version; and the trust record.

    Args:
        defaults: The configuration.
        limits_path: The policy's file, if it was named.
        output: Where the signature is going to lie, if that was named.

    Raises:
        PolicyError: It cannot be read.
        ApprovalError: Its version is below the trust record's minimum, or other limits have it.
    """
    from firmware_images.approval import refuse_outdated_policy
    from firmware_images.limits import load_limits
    from firmware_images.policy_versions import refuse_reused_version

    policy = load_limits(limits_path or defaults.limits())
    refuse_reused_version(policy, (*(() if output is None else (output,)), *defaults.signed()))
    trust = defaults.trust_record()
    if trust is not None:
        refuse_outdated_policy(policy.version, trust)
    return policy, trust


def sign_and_save(
    output: Path,
    payload: bytes,
    *,
    content_type: str,
    defaults: ReleaseDefaults,
    trust: TrustRecord | None,
    keys: tuple[str, ...],
    inputs: tuple[Path | None, ...],
    is_added: bool,
    passphrase_file: Path | None,
) -> SavedSignature:
    """Sign with the policy role's keys, and save the message or add to the one that is there.

    A key that the trust record does not give the policy role is refused before anything is written.

    Args:
        output: The file.
        payload: What is signed; the caller judged it.
        content_type: Its media type.
        defaults: The configuration.
        trust: The trust record, if there is one.
        keys: Those of `--key`.
        inputs: Files that the verb read, and that must not be replaced.
        is_added: Whether the signature joins those in the file.
        passphrase_file: The file of `--passphrase-file`.
    """
    from firmware_images.bounded_file import read_bounded
    from firmware_images.errors import ApprovalError
    from firmware_images.policy_signatures import sign_over
    from signing.cose_message import MAX_MESSAGE_BYTES
    from signing.durable_file import hold_folder, save_durably
    from signing.input_file import is_present
    from signing.refusal import refusing_in

    key_files = (Path(uri.removeprefix("file:")) for uri in keys)
    refuse_input_as_output(output, *inputs, *key_files)
    signers = _open_policy_signers(defaults, keys, passphrase_file, output)
    if is_added:  # to a file that is there: no folder is made for one that is not
        read_bounded(output, MAX_MESSAGE_BYTES, ApprovalError)
    make_folder(output.parent)
    earlier = None
    with hold_folder(output.parent):
        if is_added or is_present(output):
            earlier = read_bounded(output, MAX_MESSAGE_BYTES, ApprovalError)
        with refusing_in(output):
            signed = sign_over(
                earlier, payload, signers, content_type=content_type, is_added=is_added
            )
        status = _tell_status(signed.signature_count, signed.content, content_type, trust)
        save_durably(output, signed.content)
    if signed.replaced_count:
        status += (
            f", in place of {count_of(signed.replaced_count, 'signature')} over something else"
        )
    return SavedSignature(
        document={
            "path": str(output),
            "signatures": signed.signature_count,
            "replaced_signatures": signed.replaced_count,
            "key_ids": [signer.public_key.key_id.hex() for signer in signers],
        },
        status=f"{status}, in {output}",
    )


def _open_policy_signers(
    defaults: ReleaseDefaults, keys: tuple[str, ...], passphrase_file: Path | None, output: Path
) -> tuple[Signer, ...]:
    from signing.roles import Role

    return open_signers(
        Role.POLICY,
        configuration=defaults.find_configuration() if keys else defaults.configuration(),
        keys=keys,
        log_beside=output,
        passphrase=passphrase_source(passphrase_file, prompt="Passphrase or PIN of the policy key"),
    )


def _tell_status(count: int, signed: bytes, content_type: str, trust: TrustRecord | None) -> str:
    from signing.errors import ThresholdError
    from signing.roles import Role

    if trust is not None:
        try:
            trust.verify(signed, Role.POLICY, content_type=content_type)
        except ThresholdError:
            needed = trust.keys_of(Role.POLICY).threshold
            return (
                f"{count_of(count, 'signature')} of the {needed} that the role needs: "
                "add the others with --add"
            )
    return count_of(count, "signature")

"""What is burned into each board's eFuses, for ever: one small TOML file per product.

```toml
secure_boot_keys = ["keys/secure-boot.pub.pem"] # at most 3; the first is digest 0
enable_secure_boot = true
revoke_unused_digests = true # so that nobody adds a key of his own
disable_jtag = true
download_mode = "secure" # or "open", or "off"
user_data = "{serial}" # at most 32 characters
```

Everything is off unless it stands there. Paths are relative to the file. Key *n* goes to key block
*n*, with the purpose SECURE_BOOT_DIGEST*n*. Implements docs/spec/efuses.md §1 and §2. This module
knows fields and values; who burns them is a station.
"""

from __future__ import annotations

import hashlib
from dataclasses import field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_images.bounded_file import read_bounded
from firmware_images.efuse_chips import DEFAULT_CHIP, find_efuse_chip, refuse_unsound_keys
from firmware_images.efuse_fields import DIGEST_SLOTS, EfuseField, Stage
from firmware_images.errors import EfusePlanError
from firmware_images.product import RELATIVE_PATH
from firmware_images.secure_boot import verify_signed_image
from firmware_images.secure_boot_chips import CHIPS
from firmware_images.signature_sector import key_digest
from firmware_images.toml_document import parse_toml_document
from firmware_images.unit_values import EXAMPLE_UNIT
from signing.key_files import load_public_key
from signing.keys import SECURE_BOOT_ALGORITHMS
from signing.value_class import dataclass
from signing.written_checks import flag, member, several, text
from signing.written_table import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from firmware_images.bundle import Bundle
    from firmware_images.unit_values import UnitValues
    from signing.keys import PublicKey

EFUSE_PLAN_MAX_BYTES: Final = 64 * 1024
USER_DATA_BYTES: Final = 32

_FIRST_DIGEST_PURPOSE: Final = 9
_SOFT_JTAG_BITS: Final = 7
USER_DATA: Final = "BLOCK_USR_DATA"
_FLAG: Final = written(flag())


class DownloadMode(StrEnum):
    """What is left of the ROM's loader."""

    OPEN = "open"
    SECURE = "secure"
    """It takes flash content, and tells nothing."""
    OFF = "off"
    """It never starts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    secure_boot_keys: tuple[str, ...] = field(
        default=(), metadata=written(several(text(RELATIVE_PATH), most=DIGEST_SLOTS))
    )
    enable_secure_boot: bool = field(default=False, metadata=_FLAG)
    revoke_unused_digests: bool = field(default=False, metadata=_FLAG)
    disable_jtag: bool = field(default=False, metadata=_FLAG)
    download_mode: DownloadMode = field(
        default=DownloadMode.OPEN, metadata=written(member(DownloadMode))
    )
    user_data: str | None = field(default=None, metadata=written(text(least=1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EfusePlan:
    """The parsed file.

    Attributes:
        digest: SHA-256 over what is burned: two files that burn the same are one plan.
        chip: esptool's name of the chip that it is for.
        key_digests: Digests of the Secure Boot keys, in order.
        enable_secure_boot: Whether the chip boots signed images alone.
        revoke_unused_digests: Whether the digest slots that are left are closed.
        disable_jtag: Whether pads and USB give no debugger.
        download_mode: What is left of the loader.
        user_data: Text of the user block with its placeholders, or `None`.
        where: The file, for messages.
    """

    digest: bytes
    chip: str
    key_digests: tuple[bytes, ...]
    enable_secure_boot: bool
    revoke_unused_digests: bool
    disable_jtag: bool
    download_mode: DownloadMode
    user_data: str | None
    where: str

    def fields(self, unit: UnitValues) -> tuple[EfuseField, ...]:
        """Return what one unit's eFuses shall be, in the order of burning.

        Raises:
            EfusePlanError: The user data does not fit.
        """
        fields = [
            field for slot in range(len(self.key_digests)) for field in self._digest_fields(slot)
        ]

        def add(name: str, wanted: int | bytes | None, stage: Stage) -> None:
            fields.append(EfuseField(name=name, wanted=wanted, stage=stage))

        if self.user_data is not None:
            add(USER_DATA, self._fill_user_data(self.user_data, unit), Stage.DATA)
            # A second burn would spoil its check code.
            add(USER_DATA, None, Stage.LOCK)
        if self.revoke_unused_digests:
            for slot in range(len(self.key_digests), DIGEST_SLOTS):
                add(f"SECURE_BOOT_KEY_REVOKE{slot}", 1, Stage.LOCK)
        if self.enable_secure_boot:
            # Else somebody could protect the digests against reading, and nothing would boot.
            add("RD_DIS", None, Stage.LOCK)
            add("DIS_DIRECT_BOOT", 1, Stage.LOCK)
            add("SECURE_BOOT_EN", 1, Stage.LOCK)
        if self.disable_jtag:
            add("SOFT_DIS_JTAG", _SOFT_JTAG_BITS, Stage.LOCK)
            add("DIS_PAD_JTAG", 1, Stage.LOCK)
            add("DIS_USB_JTAG", 1, Stage.LOCK)
        if self.download_mode is DownloadMode.SECURE:
            for name in find_efuse_chip(self.chip, where=self.where).other_download_ways:
                add(name, 1, Stage.LOCK)
            add("ENABLE_SECURITY_DOWNLOAD", 1, Stage.LAST)
        if self.download_mode is DownloadMode.OFF:
            add("DIS_DOWNLOAD_MODE", 1, Stage.LAST)
        return tuple(sorted(fields, key=lambda field: field.stage))

    def _digest_fields(self, slot: int) -> Iterator[EfuseField]:
        block, purpose = f"BLOCK_KEY{slot}", f"KEY_PURPOSE_{slot}"
        number = _FIRST_DIGEST_PURPOSE + slot
        yield EfuseField(name=block, wanted=self.key_digests[slot], stage=Stage.DATA)
        yield EfuseField(name=purpose, wanted=number, stage=Stage.DATA, is_number=True)
        yield EfuseField(name=block, wanted=None, stage=Stage.DATA)
        yield EfuseField(name=purpose, wanted=None, stage=Stage.DATA)
        # Not burned: a slot that somebody revoked would not boot.
        yield EfuseField(name=f"SECURE_BOOT_KEY_REVOKE{slot}", wanted=0, stage=Stage.DATA)

    def check(self, bundle: Bundle) -> None:
        """Refuse, before there is a board, a plan after which no board of the release would boot.

        Raises:
            EfusePlanError: The chip is another one, or an image is not signed by a planned key.
            FirmwareImageError: A signature sector is damaged.
            SigningError: An image is not signed, or a signature does not match.
        """
        find_efuse_chip(bundle.statement.chip, where=self.where)
        if bundle.statement.chip != self.chip:
            raise EfusePlanError(
                "the eFuse plan was read for another chip than the bundle's",
                expected=bundle.statement.chip,
                got=self.chip,
                where=self.where,
                hint="section [product] names the chip: use the bundle of this product",
            )
        if not self.enable_secure_boot:
            return
        if bundle.bootloader is None:
            raise EfusePlanError(
                "Secure Boot would lock out the boards' bootloader, which the bundle does not have",
                expected="a bundle with a signed bootloader",
                where=self.where,
                hint="name the product's bootloader in section [release], and sign it",
            )
        for name, content in (("app", bundle.app), ("bootloader", bundle.bootloader)):
            blocks = verify_signed_image(content, where=f"the bundle's {name}").blocks
            seen = {block.key_digest for block in blocks[: CHIPS[self.chip].block_count_max]}
            if not seen & set(self.key_digests):
                raise EfusePlanError(
                    f"after this plan no board would boot the bundle's {name}",
                    expected="a signature by one of secure_boot_keys",
                    got=", ".join(sorted(digest.hex()[:16] for digest in seen)),
                    where=self.where,
                    hint="sign the image with a key of the plan, or plan the key that signed it",
                )

    def _fill_user_data(self, template: str, unit: UnitValues) -> bytes:
        text = unit.fill(template, where=f"{self.where}, user_data", error=EfusePlanError)
        if not text.isascii() or not text.isprintable() or len(text) > USER_DATA_BYTES:
            raise EfusePlanError(
                "the user data does not fit in its eFuse block",
                expected=f"at most {USER_DATA_BYTES} printable ASCII characters",
                got=repr(text[:60]),
                where=f"{self.where}, user_data",
            )
        return text.encode().ljust(USER_DATA_BYTES, b"\0")


def load_efuse_plan(path: Path, *, chip: str = DEFAULT_CHIP) -> EfusePlan:
    """Load a product's eFuse file, and the public keys that it names.

    Args:
        path: The file.
        chip: esptool's name of the product's chip.

    Raises:
        EfusePlanError: It cannot be read, or is not acceptable.
        SigningError: A key cannot be read.
    """

    def load_key(name: str) -> PublicKey:
        return load_public_key(path.parent / name, allowed=SECURE_BOOT_ALGORITHMS)

    content = read_bounded(path, EFUSE_PLAN_MAX_BYTES, EfusePlanError)
    return parse_efuse_plan(content, load_key=load_key, where=str(path), chip=chip)


def parse_efuse_plan(
    untrusted_bytes: bytes,
    *,
    load_key: Callable[[str], PublicKey],
    where: str,
    chip: str = DEFAULT_CHIP,
) -> EfusePlan:
    """Parse a product's eFuse file.

    Args:
        untrusted_bytes: The file.
        load_key: Loads a public key by the name that the file has for it.
        where: The file, for messages.
        chip: esptool's name of the product's chip.

    Raises:
        EfusePlanError: It is not acceptable for any unit, or nothing is known of the chip.
        SigningError: A key cannot be read.
    """
    find_efuse_chip(chip, where=where)
    document = parse_toml_document(untrusted_bytes, _Document, where=where, error=EfusePlanError)
    keys = [load_key(name) for name in document.secure_boot_keys]
    refuse_unsound_keys(chip, keys, where=where)
    digests = tuple(key_digest(key) for key in keys)
    plan = EfusePlan(
        digest=b"",
        chip=chip,
        key_digests=digests,
        enable_secure_boot=document.enable_secure_boot,
        revoke_unused_digests=document.revoke_unused_digests,
        disable_jtag=document.disable_jtag,
        download_mode=document.download_mode,
        user_data=document.user_data,
        where=where,
    )
    _judge(plan)
    return replace(plan, digest=_digest(plan))


def _digest(plan: EfusePlan) -> bytes:
    lines = [
        f"{field.stage.name} {field.name} {field.shown}"
        for field in plan.fields(EXAMPLE_UNIT)
        if field.name != USER_DATA or field.wanted is None
    ]
    lines.append(f"user data {plan.user_data}")
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).digest()


def _judge(plan: EfusePlan) -> None:
    if len(set(plan.key_digests)) != len(plan.key_digests):
        raise EfusePlanError("a Secure Boot key stands twice in the plan", where=plan.where)
    needs_keys = plan.enable_secure_boot or plan.revoke_unused_digests
    if needs_keys and not plan.key_digests:
        raise EfusePlanError(
            "without a key no board would ever boot again",
            expected="at least one of secure_boot_keys",
            got="none",
            where=plan.where,
        )
    if "{job}" in (plan.user_data or ""):
        raise EfusePlanError(
            "the user data would have to change with the next job",
            expected="{serial}, {mac} or {mac_hex}",
            got="{job}",
            where=f"{plan.where}, user_data",
        )
    if not plan.fields(EXAMPLE_UNIT):
        raise EfusePlanError(
            "the plan burns nothing",
            expected="at least one of the keys that docs/spec/efuses.md lists",
            where=plan.where,
            hint="leave efuses out of section [station] instead",
        )

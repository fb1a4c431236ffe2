"""How many times a chip's anti-rollback counter can rise, and which releases may raise it.

Implements docs/spec/secure-version.md §1 and §2. A board burns one eFuse bit for each step of
`secure_version`, when an application of that version has proved itself, and from then on boots
nothing older. No bit comes back: a chip's field is the budget of a whole product line. The widths
are those of espefuse's eFuse definitions, field SECURE_VERSION; a chip that is not listed is
refused.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from firmware_images.errors import SecureVersionError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELD_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {"esp32": 32, "esp32c2": 4, "esp32c5": 9}
    | dict.fromkeys(
        (
            *("esp32s2", "esp32s3", "esp32s31", "esp32c3", "esp32c6", "esp32c61"),
            *("esp32h2", "esp32h21", "esp32h4", "esp32p4", "esp32e22"),
        ),
        16,
    )
)
SPEND_OPTION: Final = "--spend-secure-version"
_ADOPT_HINT: Final = (
    "where boards burned bits before there was a ledger, begin it with "
    "`ampforge bundle secure-version adopt`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureVersionBudget:
    """What a line of boards has left.

    Attributes:
        chip: esptool's name of the chip.
        bits: The highest secure version that there can be: the width of the chip's eFuse field, or
            what the product uses of it.
        highest: The highest secure version so far, 0 if none was ever raised.
    """

    chip: str
    bits: int
    highest: int = 0

    @property
    def left(self) -> int:
        """How many times it can still rise."""
        return max(self.bits - self.highest, 0)

    def __str__(self) -> str:
        return f"secure_version {self.highest} of {self.bits}; {self.left} left"

    def refuse_beyond(self, secure_version: int, *, where: object) -> None:
        """Refuse a secure version that the chip cannot hold, whatever was signed before.

        Raises:
            SecureVersionError: It is above the width of the field.
        """
        if secure_version > self.bits:
            raise SecureVersionError(
                f"the {self.chip} cannot count up to this secure_version",
                expected=f"at most {self.bits}, one eFuse bit each",
                got=secure_version,
                where=where,
                hint="set a lower secure version in the build (CONFIG_BOOTLOADER_APP_SECURE_"
                "VERSION): it counts revoked releases, not releases",
            )

    def judge(self, secure_version: int, *, where: object) -> int:
        """Return how many bits a release of this secure version costs each board, 0 or 1.

        Raises:
            SecureVersionError: Boards would refuse it, it wastes bits, or there are none left.
        """
        self.refuse_beyond(secure_version, where=where)
        if secure_version < self.highest:
            raise SecureVersionError(
                "the secure_version is lower than one that was signed before",
                expected=f"{self.highest}"
                + (f", or {self.highest + 1} to revoke what is out there" if self.left else ""),
                got=secure_version,
                where=where,
                hint="boards that ran that release refuse this one: build it with the same "
                "secure version",
            )
        if secure_version > self.highest + 1:
            raise SecureVersionError(
                f"the secure_version would waste {secure_version - self.highest - 1} of the "
                f"{self.left} eFuse bits that are left",
                expected=f"{self.highest} or {self.highest + 1}",
                got=secure_version,
                where=where,
                hint="raise it by one at a time: one step revokes every older release"
                + ("" if self.highest else f"; {_ADOPT_HINT}"),
            )
        return secure_version - self.highest

    def judge_spending(self, secure_version: int, *, reason: str | None, where: object) -> int:
        """As `judge`, for a release that is about to be signed.

        Args:
            secure_version: That of the release.
            reason: Why a bit may be spent; `None` allows none.
            where: The release, for messages.

        Raises:
            SecureVersionError: As `judge`; a bit would be spent without a reason, or a reason was
                given and nothing would be spent.
        """
        cost = self.judge(secure_version, where=where)
        if cost and reason is None:
            raise SecureVersionError(
                "signing this would spend an eFuse bit of every board, for good",
                expected=f"secure_version {self.highest}, or {SPEND_OPTION} with the reason",
                got=f"secure_version {secure_version}, without a reason",
                where=where,
                hint=f"{self.left} of {self.bits} are left; if older releases have to be revoked, "
                f'add {SPEND_OPTION} "why"',
            )
        if not cost and reason is not None:
            raise SecureVersionError(
                f"{SPEND_OPTION} is given, but nothing would be spent",
                expected=f"secure_version {self.highest + 1}",
                got=f"{secure_version}, as signed before",
                where=where,
                hint="leave the option out: a script that always gives it would spend unseen",
            )
        return cost


def find_budget(
    chip: str, *, highest: int = 0, bits: int | None = None, where: object = None
) -> SecureVersionBudget:
    """Return a chip's budget.

    Args:
        chip: esptool's name of the chip.
        highest: The highest secure version so far.
        bits: What the product uses of the chip's field; `None` for all of it.
        where: Of what, for messages.

    Raises:
        SecureVersionError: The chip's field is not known, or is narrower than what the product
            means to use.
    """
    if chip not in FIELD_BITS:
        raise SecureVersionError(
            "it is not known how far this chip's secure_version can count",
            expected=", ".join(sorted(FIELD_BITS)),
            got=chip,
            where=where,
        )
    width = FIELD_BITS[chip]
    if bits is not None and bits > width:
        raise SecureVersionError(
            f"the product counts on more eFuse bits than the {chip} has",
            expected=f"at most {width}",
            got=bits,
            where="[product] secure_version_bits" if where is None else where,
            hint="set secure_version_bits in [product] to what the bootloader uses "
            "(CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD), or leave it out",
        )
    return SecureVersionBudget(chip=chip, bits=width if bits is None else bits, highest=highest)

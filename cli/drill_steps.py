"""What people do when a key is lost or stolen, role by role: printed at the end of each drill.

The times are the people's; what the machine does takes seconds (docs/how-to/compromise-drill.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIND_OUT = (
    "write down when the key was last known to be safe; `ampforge key log show` lists what it "
    "signed, and what is not in that list the thief signed"
)
_NEW_KEY = (
    "make a new key where it will live (`ampforge key generate`, or in the token) and bring its "
    ".pub.pem"
)
_ROTATE = "call root's holders: `ampforge key rotate OLD NEW.pub.pem --revoke`"
_CONFIGURE = "change [signing] in ampforge.toml as that command says"
_TUF = (
    "`ampforge repo rotate` with root's keys publishes the next TUF root and the trust record: "
    "gateways and boards follow when they next ask, and trust the old key until then"
)
_PUBLISH = (
    "`ampforge repo publish-trust`: boards take the trust record when they next ask for an update, "
    "or at service, and trust the old key until then; who carries the bytes can hold it back"
)
_DELIVER = "give the new trust record to stations and servers"

REAL_STEPS: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.ROOT: (
        _FIND_OUT,
        (
            "check that fewer root keys than the threshold are gone; at the threshold only "
            "service of "
            "every device helps"
        ),
        _NEW_KEY,
        (
            "call root's other holders and the new one: `ampforge key rotate OLD NEW.pub.pem "
            "--revoke "
            "--key …` with each of their keys"
        ),
        _CONFIGURE,
        f"{_TUF}; `--old-key FILE` for each old root key that signs along",
        _DELIVER,
    ),
    Role.POLICY: (
        _FIND_OUT,
        "stop releases: `ampforge campaign create … --halt`",
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        (
            "judge every table again that the key approved since it was last safe; raise the "
            "policy's "
            "version and the minimum (`ampforge trust sign --minimum-policy-version`) if one is "
            "harmful"
        ),
        (
            "`ampforge policy approve`, then `bundle build --release-counter NEXT`, `bundle sign`, "
            "`repo publish`"
        ),
        _PUBLISH,
        _DELIVER,
    ),
    Role.RELEASE: (
        _FIND_OUT,
        "stop releases: `ampforge campaign create … --halt`",
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        _TUF,
        (
            "build what is still to be installed from its sources, compare it with what was signed "
            "(`ampforge bundle diff`), and sign and publish it under the next release counter"
        ),
        _DELIVER,
    ),
    Role.SECURE_BOOT: (
        _FIND_OUT,
        (
            "sign bootloader and application with the spare key, whose digest the boards hold "
            "(`ampforge image sign`), and find boards that would refuse them "
            "(`ampforge image verify --efuse-digests`)"
        ),
        "release and install that image everywhere first",
        (
            "then have the application revoke the stolen key's digest (eFuse KEY_REVOKE): there "
            "is no "
            "way back, and a board whose own image is refused does not start"
        ),
        "give the factory the new order of digests for new boards",
    ),
    Role.CAMPAIGN: (
        (
            "take the server off the network; the key can hold releases back and choose who gets "
            "which "
            "signed release, and no more"
        ),
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        _TUF,
        (
            "see in `ampforge repo status` that devices take each hardware class's assignment; "
            "those by the old key are refused: `ampforge campaign create`"
        ),
        _DELIVER,
    ),
    Role.FRESHNESS: (
        "take the server off the network; the key can hide that an assignment expired, and no more",
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        "start `ampforge serve` with the new key",
        _PUBLISH,
        _DELIVER,
    ),
    Role.TIMESTAMP: (
        "take the server off the network; the key can freeze what gateways see, and no more",
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        _TUF,
    ),
    Role.SNAPSHOT: (
        (
            "take the server off the network; the key can mix old and new lists for gateways, and "
            "no "
            "more"
        ),
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        _TUF,
    ),
    Role.STATION: (
        (
            "take the station off the line; `ampforge unit` and the ledger name every unit that it "
            "calibrated since the key was last known to be safe"
        ),
        "call root's holders: `ampforge key revoke STATION_KEY_ID`",
        "make the station a new key and a new certificate from the factory CA",
        "recall or re-measure units that may carry a false calibration record",
        _PUBLISH,
        _DELIVER,
    ),
    Role.SUPERVISOR: (
        (
            "stop work on what was sent back or let out of quarantine: `ampforge unit quarantine "
            "--all` and `ampforge unit history` show each order with the key that signed it"
        ),
        _NEW_KEY,
        _ROTATE,
        _CONFIGURE,
        "give the new trust record to every station; boards do not read this role",
        "look at each unit again that an order of the stolen key touched",
    ),
    Role.FACTORY_CA: (
        "stop every station; units since the key was last known to be safe may be false",
        "make a new CA with its key in a token or on a medium of its own",
        "call root's holders: `ampforge trust sign --factory-ca NEW.cert.der`",
        "certify every station again",
        (
            "units that get the new trust record must be calibrated again before they take an "
            "update: "
            "plan the service, and give the record to fielded units only there"
        ),
    ),
}

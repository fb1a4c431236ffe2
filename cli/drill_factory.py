"""The drills of the factory's keys: a station's, the factory CA's, and those of Secure Boot."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cli.drill_field import MAC, SERIAL, sign_calibration, try_update
from cli.drill_findings import Moment
from cli.drill_play import DEVICE, STATION, Play, follow_record, show_forgery
from cli.drill_world import make_key
from firmware_images.calibration_record import verify_calibration_record
from firmware_images.efuse_digests import BoardKeys, find_refusing
from firmware_images.errors import SecureBootError
from firmware_images.secure_boot import sign_image, verify_signed_image
from firmware_images.secure_boot_chips import CHIPS
from firmware_images.signature_sector import key_digest
from signing.certificate_fields import CertificateKind
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.key_life import revoke_key
from signing.keys import Algorithm
from signing.roles import Role

if TYPE_CHECKING:
    from signing.keys import PublicKey
    from signing.signers import SoftwareSigner

BOARD = "board's boot ROM"
_COMMON_NAME = "drill station"


def play_station(play: Play) -> None:
    """A station's key is stolen: what it signs from now on is refused at service."""
    world, factory = play.world, play.world.factory
    forged = sign_calibration(world, factory.station, factory.station_der)
    show_forgery(
        play,
        Moment.BEFORE,
        "a calibration record",
        STATION,
        lambda: _accept_calibration(play, forged),
    )
    follow_record(
        play,
        revoke_key(play.record, factory.station.public_key.key_id),
        world.keys[Role.ROOT],
    )
    show_forgery(
        play,
        Moment.AFTER,
        "a calibration record",
        STATION,
        lambda: _accept_calibration(play, forged),
    )
    show_forgery(
        play,
        Moment.AFTER,
        "the station's own certificate",
        STATION,
        lambda: play.record.verify_certificate(
            factory.station_der, now=world.now, kind=CertificateKind.STATION
        ),
    )
    certificate = _certify(play, factory.ca, factory.ca_der)
    again = sign_calibration(world, play.new, certificate)
    play.findings.accepts(
        Moment.AFTER,
        "a calibration record by the station's new key",
        STATION,
        lambda: _accept_calibration(play, again),
    )
    play.findings.accepts(
        Moment.AFTER,
        "an update of a unit that the station had calibrated before",
        DEVICE,
        lambda: try_update(world, play.signed_record, freshness=play.keys[Role.FRESHNESS][-1]),
    )
    play.kept.append("calibration records in units that were finished before: they keep updating")
    play.resigned.append(
        "calibration records of that station, by calibrating each unit again at its next service"
    )


def play_factory_ca(play: Play) -> None:
    """The CA's key is stolen: what the thief certifies is refused once it is replaced."""
    world, factory = play.world, play.world.factory
    thief, begin = make_key(), world.now - timedelta(days=1)
    stolen_certificate = issue_station_certificate(
        factory.ca, factory.ca_der, thief.public_key, station_name="station-9", not_before=begin
    )
    forged = sign_calibration(world, thief, stolen_certificate)
    for moment in Moment:
        if moment is Moment.AFTER:
            ca_der = create_ca_certificate(
                play.new, common_name="drill factory CA 2", not_before=begin
            )
            following = replace(play.record, version=play.record.version + 1, factory_ca_der=ca_der)
            follow_record(play, following, play.world.keys[Role.ROOT])
        show_forgery(
            play,
            moment,
            "the certificate of a station that does not exist",
            STATION,
            lambda: play.record.verify_certificate(
                stolen_certificate, now=world.now, kind=CertificateKind.STATION
            ),
        )
        show_forgery(
            play,
            moment,
            "a calibration record by that station",
            STATION,
            lambda: _accept_calibration(play, forged),
        )
    station = make_key()
    certificate = issue_station_certificate(
        play.new,
        play.record.factory_ca_der,
        station.public_key,
        station_name=_COMMON_NAME,
        not_before=begin,
    )
    again = sign_calibration(world, station, certificate)
    play.findings.accepts(
        Moment.AFTER,
        "a calibration record by a station that the new CA certified",
        STATION,
        lambda: _accept_calibration(play, again),
    )
    freshness = play.keys[Role.FRESHNESS][-1]
    play.findings.refuses(
        Moment.AFTER,
        "an update of a unit that was calibrated under the old CA",
        DEVICE,
        lambda: try_update(world, play.signed_record, freshness=freshness),
    )
    play.findings.accepts(
        Moment.AFTER,
        "an update of that unit while it holds the trust record before",
        DEVICE,
        lambda: try_update(world, world.signed_record, freshness=freshness),
    )
    play.resigned += [
        "the certificate of each station",
        (
            "the calibration record of each unit that gets the new trust record: it takes no "
            "update until it was calibrated again"
        ),
    ]
    play.kept.append("updates of units that still hold the trust record before")


def play_secure_boot(play: Play) -> None:
    """A Secure Boot key is stolen: boards that revoked its digest refuse what it signs."""
    chip = CHIPS.get(play.world.product.chip)
    schemes = set() if chip is None else chip.schemes - chip.broken.keys()
    if not schemes or chip is None:
        raise SecureBootError(
            "this chip has no Secure Boot scheme that holds",
            expected="a chip with one",
            got=play.world.product.chip,
            hint="there is nothing to drill: use another chip",
        )
    algorithm = Algorithm.RSA_3072 if Algorithm.RSA_3072 in schemes else Algorithm.ECDSA_P256
    count = chip.block_count_max
    stolen, *others = (make_key(algorithm) for _ in range(min(count, 2)))
    app = play.world.parts.app
    held = {key_digest(key.public_key) for key in (stolen, *others)}
    board = BoardKeys(name="board", digests=frozenset(held))
    revoked = BoardKeys(name="board", digests=frozenset(held - {key_digest(stolen.public_key)}))
    forged = sign_image(app, [stolen], where="image")
    show_forgery(play, Moment.BEFORE, "an image", BOARD, lambda: _boot(forged, board))
    if count == 1:
        # One key, and no way to revoke it: what must be refused is accepted, and the drill fails.
        show_forgery(play, Moment.AFTER, "an image", BOARD, lambda: _boot(forged, board))
        play.resigned.append("nothing helps fielded boards: this chip holds one key for good")
        return
    show_forgery(play, Moment.AFTER, "an image", BOARD, lambda: _boot(forged, revoked))
    old = sign_image(app, [stolen, *others], where="image")
    play.findings.accepts(
        Moment.AFTER,
        "an image that stolen and spare key had signed before",
        BOARD,
        lambda: _boot(old, revoked),
    )
    again = sign_image(app, others, where="image")
    play.findings.accepts(
        Moment.AFTER,
        "the image signed again by the spare key",
        BOARD,
        lambda: _boot(again, revoked),
    )
    play.kept.append("images that a key besides the stolen one had signed, too")
    play.resigned.append(
        "images that the stolen key alone had signed, the second-stage bootloader among them, "
        "before its digest is revoked: a board whose own image is refused does not start"
    )


def _boot(image: bytes, board: BoardKeys) -> None:
    signed = verify_signed_image(image, where="image")
    refusing = find_refusing(signed.blocks, (board,), chip=signed.image.chip)
    if refusing:
        raise SecureBootError(
            "the board refuses the image",
            expected="a signature by a key whose digest it holds and has not revoked",
            got="none",
        )


def _accept_calibration(play: Play, record_bytes: bytes) -> object:
    return verify_calibration_record(
        record_bytes,
        play.record.factory_ca_der,
        now=play.world.now,
        serial=SERIAL,
        mac=MAC,
        revoked_key_ids=play.record.revoked_key_ids,
    )


def _certify(play: Play, ca: SoftwareSigner, ca_der: bytes) -> bytes:
    begin = play.world.now - timedelta(days=1)
    key: PublicKey = play.new.public_key
    return issue_station_certificate(ca, ca_der, key, station_name=_COMMON_NAME, not_before=begin)

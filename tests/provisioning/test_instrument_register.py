"""The register of instruments in the ledger, and what an instrument touched."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from provisioning.errors import (
    InstrumentDescriptionError,
    InstrumentRegisterError,
)
from provisioning.instrument_certificates import refuse_uncertified
from provisioning.instrument_description import (
    Quantity,
    built_in_description,
    list_descriptions,
    parse_description,
    read_built_in,
)
from provisioning.instrument_impact import find_touched_units
from provisioning.instrument_register import (
    add_instrument,
    apply_register,
    build_entry,
    current_entries,
    load_copy,
    parse_copy,
    read_register,
    save_copy,
)
from provisioning.instruments import InstrumentIdentity
from provisioning.ledger import Ledger
from provisioning.ledger_events import Phase
from provisioning.slot_meter import refuse_optimistic_accuracy
from provisioning.station_settings import StationSettings
from tests.provisioning.ledger_sites import START, a_writer, create, reserve
from tests.provisioning.metrology_bench import SETTINGS

TODAY = START.date()


def a_ledger(folder) -> Ledger:
    create(folder / "ledger.sqlite3")
    return Ledger.open(folder / "ledger.sqlite3")


def mac_of(index: int) -> bytes:
    return bytes([0x7C, 0xDF, 0xA1, 0, 0, index])


def with_accuracy(*lines: str) -> bytes:
    head, _, rest = read_built_in("scpi-switching-meter").partition("\n[commands]")
    tables = "".join(f"\n[[accuracy]]\n{line}\n" for line in lines)
    return f'{head}\naccuracy_source = "sheet"\n[commands]{rest}{tables}'.encode()


def entry(certificate: str = "K-1", **changes: object):
    fields: dict[str, object] = {
        "serial_number": "SM0000001",
        "maker": "Ampforge",
        "model": "SM-6500",
        "certificate": certificate,
        "calibrated": TODAY - dt.timedelta(days=30),
        "due": TODAY + dt.timedelta(days=335),
        "read_from": "*IDN?",
        "entered_by": "M. Curie",
    }
    return build_entry(**(fields | changes))


def test_what_was_entered_is_read_back_by_every_station_and_the_audit_holds(tmp_path):
    ledger = a_ledger(tmp_path)
    add_instrument(ledger, a_writer("station-1"), entry())
    later = entry("K-2", calibrated=TODAY, due=TODAY + dt.timedelta(days=365))
    add_instrument(ledger, a_writer("station-2"), later)
    found = read_register(ledger)
    assert [one.entry.certificate for one in found] == ["K-1", "K-2"]
    assert current_entries(found)["SM0000001"].entry == later
    ledger.verify_chains()
    ledger.close()


def test_the_latest_calibration_counts_whoever_entered_it_last(tmp_path):
    ledger = a_ledger(tmp_path)
    add_instrument(ledger, a_writer(), entry("new", calibrated=TODAY))
    add_instrument(ledger, a_writer(), entry("old", calibrated=TODAY - dt.timedelta(days=400),
                                             due=TODAY - dt.timedelta(days=35)))  # fmt: skip
    assert current_entries(read_register(ledger))["SM0000001"].entry.certificate == "new"
    ledger.close()


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"due": TODAY - dt.timedelta(days=31)}, "not 1 to 3660 days"),
        ({"serial_number": ""}, "serial_number"),
        ({"serial_number": " SM1"}, "serial_number"),
        ({"certificate": "K\n2"}, "certificate"),
        ({"entered_by": ""}, "entered_by"),
        ({"accuracy_source": "somewhere"}, "both or neither"),
        ({"read_from": "memory"}, "read_from"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(changes, telling):
    with pytest.raises(InstrumentRegisterError, match=telling) as refused:
        entry(**changes)
    assert "error" not in refused.value.got, "in our words, not a library's"


def test_a_certificate_is_entered_once_and_not_in_advance(tmp_path):
    ledger = a_ledger(tmp_path)
    add_instrument(ledger, a_writer(), entry())
    with pytest.raises(InstrumentRegisterError, match="already"):
        add_instrument(ledger, a_writer(), entry(due=TODAY + dt.timedelta(days=9)))
    with pytest.raises(InstrumentRegisterError, match="in the future"):
        add_instrument(ledger, a_writer(), entry("K-3", calibrated=TODAY + dt.timedelta(days=2)))
    assert len(read_register(ledger)) == 1
    ledger.close()


def test_the_audit_refuses_an_entry_that_is_none(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.append(a_writer(), step="instrument", phase=Phase.CONFIRM, data={"due": "tomorrow"})
    with pytest.raises(InstrumentRegisterError, match="not an entry"):
        ledger.verify_chains()
    ledger.close()


def test_settings_take_the_registers_certificates_and_none_of_their_own(tmp_path):
    ledger = a_ledger(tmp_path)
    add_instrument(ledger, a_writer(), entry())
    settings = apply_register(StationSettings(), read_register(ledger))
    identity = InstrumentIdentity(
        manufacturer="Ampforge", model="SM-6500", serial_number="SM0000001", firmware="1"
    )
    assert refuse_uncertified(identity, settings.metrology, today=TODAY) == "K-1"
    with pytest.raises(InstrumentRegisterError, match="not in the configuration"):
        apply_register(settings, ())
    ledger.close()


def test_without_the_ledger_the_station_knows_what_it_saw_last(tmp_path):
    ledger = a_ledger(tmp_path)
    assert load_copy(tmp_path) == ()
    add_instrument(ledger, a_writer(), entry())
    found = read_register(ledger)
    save_copy(tmp_path, found)
    assert load_copy(tmp_path) == found
    path = tmp_path / "instruments.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InstrumentRegisterError, match="copy of the register"):
        load_copy(tmp_path)
    with pytest.raises(InstrumentRegisterError):
        parse_copy(b'[{"at": "2026-01-01"}]', where="copy")
    ledger.close()


@pytest.mark.parametrize("name", list_descriptions())
def test_the_descriptions_that_come_along_are_whole_and_say_where_they_are_from(name):
    description = built_in_description(name)
    assert description.name == name
    assert description.source


@pytest.mark.parametrize(
    ("old", "new", "telling"),
    [
        (b"{count}", b"{number}", "needs exactly"),
        (b"{range:.9g}", b"{range.__class__}", "needs exactly"),
        (b"{range:.9g}", b"{range:.9q}", "configure"),
        (b'"current"', b'"resistance"', "quantity"),
        (b"ranges = [0.1, 1.0", b"ranges = [1.0, 0.1", "ascending"),
        (b"open_loads =", b"# open_loads =", "both or neither"),
        (b"[current]", b"[amperes]", "amperes|current"),
        (b"name = ", b"nam = ", "nam"),
        (b"[commands]", b"[commands", "commands|Expected"),
    ],
)
def test_a_description_that_is_none_is_refused(old, new, telling):
    text = read_built_in("scpi-switching-meter").encode()
    assert old in text
    with pytest.raises(InstrumentDescriptionError, match=telling):
        parse_description(text.replace(old, new), where="file")


def test_accuracy_is_chosen_by_age():
    description = parse_description(
        with_accuracy(
            "range = 1e-3\nage_days = 90\nreading_percent = 0.03\nrange_percent = 0.005",
            "range = 1e-3\nage_days = 365\nreading_percent = 0.05\nrange_percent = 0.005",
        ),
        where="file",
    )
    assert [line.reading_percent for line in description.accuracy_at_age(60)] == [0.03]
    assert [line.reading_percent for line in description.accuracy_at_age(91)] == [0.05]
    assert description.accuracy_at_age(366) == ()


def test_settings_must_not_promise_more_than_the_instrument():
    figures = ((1e-4, 0.05, 0.025), (1e-3, 0.05, 0.005), (1e-2, 0.05, 0.02))
    lines = [
        f"range = {full}\nage_days = 365\nreading_percent = {reading}\nrange_percent = {part}"
        for full, reading, part in figures
    ]
    description = parse_description(with_accuracy(*lines), where="file")
    honest = description.accuracy_at_age(365)
    refuse_optimistic_accuracy(honest, description, SETTINGS, where="K-1")
    worse = tuple(
        line.model_copy(update={"reading_percent": 2 * line.reading_percent}) for line in honest
    )
    with pytest.raises(InstrumentDescriptionError, match="promises more"):
        refuse_optimistic_accuracy(worse, description, SETTINGS, where="K-1")
    with pytest.raises(InstrumentDescriptionError, match="promises more"):
        refuse_optimistic_accuracy(honest[:2], description, SETTINGS, where="K-1")
    volts = description.model_copy(update={"quantity": Quantity.VOLTAGE})
    with pytest.raises(InstrumentDescriptionError, match="none"):
        refuse_optimistic_accuracy(honest, volts, SETTINGS, where="K-1")


def test_an_instrument_names_every_unit_that_it_measured(tmp_path):
    ledger = a_ledger(tmp_path)
    writer = a_writer()
    serials = []
    for index, instrument in enumerate(("SM1", "SM1", "SM2")):
        given = reserve(ledger, writer, mac=mac_of(index))
        serials.append(given.serial)
        result = {
            "instrument": {"serial_number": instrument},
            "certificate": "K-1",
            "readings": [1, 2, 3],
            "points": [1],
        }
        for step in ("calibrate", "verify"):
            ledger.append(writer, step=step, phase=Phase.CONFIRM, data={"result": result},
                          reservation=given)  # fmt: skip
    # What was measured by one instrument was read by another after the locks; a board of an older
    # Ampforge, whose current alone was written down.
    after_locks = {"instrument": {"serial_number": "SM3"}, "certificate": "K-3", "points": [1]}
    for data in ({"current": {}, "result": after_locks}, {"current": {}}):
        ledger.append(writer, step="recheck", phase=Phase.CONFIRM, data=data, reservation=given)
    (read_again,) = find_touched_units(ledger, instrument="SM3")
    assert (read_again.serial, read_again.certificates) == (serials[2], ("K-3",))
    assert (read_again.verification_readings, read_again.recheck_readings) == (0, 1)
    found = find_touched_units(ledger, instrument="SM1")
    assert [one.serial for one in found] == serials[:2]
    assert {(one.calibration_readings, one.verification_readings) for one in found} == {(3, 1)}
    assert {one.state for one in found} == {"in-work"}
    since = found[1].first_at
    assert {one.serial for one in find_touched_units(ledger, since=since)} == set(serials[1:])
    later = since + dt.timedelta(days=1)
    assert find_touched_units(ledger, instrument="SM1", since=later) == ()
    with pytest.raises(
        InstrumentRegisterError, match="knows no such instrument: expected SM1, SM2, SM3"
    ):
        find_touched_units(ledger, instrument="SM9")
    assert json.dumps([one.document() for one in found])
    ledger.close()

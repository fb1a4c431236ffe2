"""A station that is cut off goes on within its block, and the ledger follows when it is back."""

from __future__ import annotations

import pytest

from provisioning.ledger_leases import list_leases
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_values import SerialState, UnitState
from provisioning.serial_numbers import parse_serial
from tests.provisioning.lease_bench import Factory, mac_of, reserve, work
from tests.provisioning.ledger_sites import BACK_ENDS, empty_site


@pytest.fixture(params=BACK_ENDS)
def factory(request, tmp_path):
    site = empty_site(request.param, tmp_path / "server", request)
    return Factory(tmp_path / "stations", site.address).begin()


def test_numbers_that_were_given_offline_are_in_the_ledger_afterwards(factory):
    ledger = factory.open()
    online = (ledger, factory.writer())
    work(online, reserve(online, 1))
    lease = factory.take()
    assert (lease.name, lease.first_sequence, lease.last_sequence) == ("station-1/1", 2, 6)
    work(online, reserve(online, 2))  # the others go on behind the block
    opened = factory.offline()
    assert (opened.is_offline, opened.writer.station) == (True, "station-1/1")
    given = [reserve(opened, number) for number in (3, 4)]
    assert [parse_serial(one.serial).sequence for one in given] == [2, 3]
    assert reserve(opened, 3).serial == given[0].serial
    work(opened, given[0])
    opened.close()
    result = factory.sync()
    assert (result.event_count > 10, result.refused, result.archive) == (True, (), None)
    ledger.verify_chains()
    units = {unit.mac: unit for unit in list_units(ledger.database)}
    assert units[mac_of(3)].state is UnitState.PASS
    assert units[mac_of(4)].state is UnitState.IN_WORK
    states = {one.mac: one.state for one in list_serials(ledger.database)}
    assert states[mac_of(3)] is SerialState.RELEASED
    (record,) = list_leases(ledger)
    assert (record.given, record.left, record.voided) == (2, 3, 0)
    again = factory.sync()
    assert again.event_count == 0
    ledger.close()

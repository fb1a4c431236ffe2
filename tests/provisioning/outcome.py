"""What must be the same in the end, whatever happened to the station or the board on the way."""

from __future__ import annotations

from provisioning.ledger_queries import count_serials, list_jobs, list_serials, list_units
from provisioning.ledger_values import SerialState
from provisioning.slots import run_slots
from tests.provisioning.station_bench import STEPS, open_bench, slot_configs


def finish(folder, line):
    station = open_bench(folder)
    results = run_slots(station, slot_configs(line))
    station.close()
    assert [result.error for result in results] == [None] * len(results)


def describe(folder):
    """Everything that must be the same whether the station was killed or not."""
    station = open_bench(folder)
    database = station.ledger.database
    description = {}
    for unit in list_units(database):
        (job,) = list_jobs(database, unit.serial)
        events = [chained.event for chained in station.ledger.events(serial=unit.serial)]
        confirmed = {event.step: event.data for event in events if event.phase == "CONFIRM"}
        assert set(confirmed) == {step.value for step in STEPS} - {"detect"}
        for step in confirmed:
            if step not in {"reserve", "final"}:
                first_intent = [(event.step, event.phase) for event in events].index(
                    (step, "INTENT")
                )
                first_confirm = [(e.step, e.phase) for e in events].index((step, "CONFIRM"))
                assert first_intent < first_confirm, f"{step} was confirmed before it was intended"
        records = {e.data["record"] for e in events if (e.step, e.phase) == ("record", "INTENT")}
        assert confirmed["record"]["stored"] in records
        description[unit.mac] = {
            "serial": unit.serial,
            "state": unit.state,
            "bundle": unit.bundle_digest,
            "job": (job.number, job.state, job.outcome),
            "trust_version": confirmed["identity"]["trust_version"],
            "release_counter": confirmed["identity"]["release_counter"],
            "record_generations": len(records),
            "app": confirmed["flash"]["app_sha256"],
            "outcome": confirmed["final"]["outcome"],
        }
    counts = count_serials(database)
    assert len(list_serials(database)) == counts[SerialState.RELEASED] == len(description)
    station.ledger.verify_chains()
    station.close()
    return description

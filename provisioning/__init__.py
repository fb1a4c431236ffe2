"""The factory: serials, flashing, identity, calibration, verification, records."""

"""The factory: serials, flashing, identity, calibration, verification, records.

The first word of a module's name says what it belongs to. Where to begin reading:

| first word | what it is | begin with |
|---|---|---|
| `station_` | what a station has, and opening it | `station_opening`, `station` |
| `unit_` | one board's way through the workflow | `slots`, `unit_run` |
| `board_`, `locked_` | what a board is, proves and drives, whoever asks | `classification` |
| `link_` | what board and station say to each other | `device_link` |
| `esptool_`, `efuse_` | the chip behind its ROM loader | `flasher`, `esptool_flasher` |
| `calibration_` | fitting a unit's two numbers | `calibration` |
| `verification_`, `waveform_`, `window_` | measuring it afresh, and judging that | `verification` |
| `measurement_`, `uncertainty_` | with what figures, and how sure | `measurement_settings` |
| `scpi_`, `meter_`, `instrument_` | the instruments, and the register of them | `instruments` |
| `check_` | the check standard: its readings, and whom they hold or release | `check_standard` |
| `gauge_`, `capability_` | studies of gauges and of processes | `gauge_study` |
| `ledger_` | the factory's database: events, what follows from them, its audits | `ledger` |
| `lease_`, `outbox_` | work while it is out of reach | `offline_ledger`, `lease_sync` |
| `serial_` | serial numbers; `serial_port` alone is the cable | `serial_numbers` |
| `report_`, `certificate_` | what is shown and printed | `reports` |
| `simulation_` | the station's decisions, tried on units whose truth is known | `simulation_run` |
| `simulator/` | boards, a meter and a fixture, simulated | `simulator.line` |
| `migrations/` | the history of the ledger's tables | |
"""

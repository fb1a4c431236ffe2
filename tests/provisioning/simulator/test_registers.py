from __future__ import annotations

import pytest

from provisioning.errors import SimulatorError
from provisioning.simulator.board_folder import mac_for
from provisioning.simulator.efuses import EFUSE_BASE, EfuseFile
from provisioning.simulator.registers import ChipRegisters
from tests.espressif_tools import espefuse

# espefuse imports what Click has announced to drop.
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")
MAC = bytes.fromhex("025a48c00007")


@pytest.fixture
def efuse_file(tmp_path):
    return EfuseFile(tmp_path / "efuse.bin", mac=MAC)


@pytest.fixture
def registers(efuse_file):
    return ChipRegisters(efuse_file=efuse_file, flash_size_bytes=4 * 1024 * 1024)


def run_flash_command(registers, command: int, *, bits: int = 32, address: int = 0) -> int:
    registers.write_word(0x60002004, address)
    registers.write_word(0x60002028, bits - 1)
    registers.write_word(0x60002020, 7 << 28 | command)
    registers.write_word(0x60002000, 1 << 18)
    assert registers.read_word(0x60002000) == 0
    return registers.read_word(0x60002058)


def test_macs_of_a_line_are_distinct_local_and_seeded():
    macs = {mac_for(1, index) for index in range(300)}
    assert len(macs) == 300
    assert all(mac[0] == 0x02 for mac in macs)
    assert mac_for(1, 5) == mac_for(1, 5) != mac_for(2, 5)


def test_the_mac_is_read_through_the_registers(registers):
    low, high = registers.read_word(0x60008844), registers.read_word(0x60008848)
    assert (high & 0xFFFF).to_bytes(2, "big") + low.to_bytes(4, "big") == MAC


def test_espefuse_reads_the_file_and_the_board_sees_what_espefuse_burns(tmp_path, registers):
    path = tmp_path / "efuse.bin"
    espefuse(path, "burn-efuse", "SECURE_VERSION", "3")
    assert MAC.hex(":") in espefuse(path, "summary")
    assert registers.read_word(EFUSE_BASE + 0x2C + 16) >> 14 & 0xFFFF == 3


def test_an_efuse_burned_through_the_registers_is_never_unburned(efuse_file, registers):
    def burn(word: int, value: int) -> None:
        registers.write_word(EFUSE_BASE + 4 * word, value)
        registers.write_word(EFUSE_BASE + 0x1CC, 0x5A5A)
        registers.write_word(EFUSE_BASE + 0x1D4, 2)

    burn(4, 1 << 14)
    burn(4, 2 << 14)
    assert efuse_file.read_field(word=4, shift=14, bits=16) == 3
    assert efuse_file.mac == MAC


def test_a_wrong_check_code_is_refused_by_the_controller(registers):
    registers.write_word(EFUSE_BASE, 0x12345678)
    with pytest.raises(SimulatorError, match="controller refuses"):
        registers.write_word(EFUSE_BASE + 0x1D4, 3 << 2 | 2)


def test_an_efuse_file_of_another_board_or_of_no_board_is_refused(tmp_path, efuse_file):
    path = tmp_path / "efuse.bin"
    with pytest.raises(SimulatorError, match="another board"):
        EfuseFile(path, mac=b"\x02" * 6)
    path.write_bytes(b"short")
    with pytest.raises(SimulatorError, match="wrong size"):
        EfuseFile(path, mac=MAC)
    path.unlink()
    with pytest.raises(SimulatorError, match="cannot be read"):
        efuse_file.read_word(EFUSE_BASE)


def test_flash_identity_and_discovery_are_read_through_the_spi_controller(registers):
    assert run_flash_command(registers, 0x9F, bits=24) == 0x1640EF
    assert run_flash_command(registers, 0x5A) == int.from_bytes(b"SFDP", "little")
    assert run_flash_command(registers, 0x5A, address=0x200) == 0xFFFFFFFF


def test_flash_status_is_kept(registers):
    registers.write_word(0x60002058, 0x42)
    registers.write_word(0x60002020, 7 << 28 | 0x31)
    registers.write_word(0x60002000, 1 << 18)
    assert run_flash_command(registers, 0x35, bits=8) == 0x42
    assert run_flash_command(registers, 0x05, bits=8) == 0
    assert run_flash_command(registers, 0x66) == 0


def test_other_registers_keep_what_is_written_under_a_mask(registers):
    registers.write_word(0x60004000, 0xFFFF0000)
    registers.write_word(0x60004000, 0x0000ABCD, 0x0000FFFF)
    assert registers.read_word(0x60004000) == 0xFFFFABCD
    assert registers.read_word(0x40001000) == 0x1B31506F

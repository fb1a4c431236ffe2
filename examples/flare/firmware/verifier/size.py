"""What the verifier takes on a board: code, and the deepest stack of its own functions.

    python size.py                  one JSON line a profile
    python size.py --mbedtls DIR    with mbedTLS's headers in DIR instead of /usr/include

Compiles the library for RV32IMC with the package `ziglang`, as the rest of the firmware, and looks
at the objects alone: nothing is linked. Code is what is executed and what is only read (.text and
.rodata); the verifier has no writable data. The stack is the longest path through its own
functions, from the sizes that the compiler notes and the calls that the relocations show. What
mbedTLS and the C library need is not in these figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

SOURCES = sorted(Path(__file__).resolve().parent.glob("af_*.c"))
FLAGS = (
    "-target", "riscv32-linux-musl", "-mcpu=generic_rv32+m+c", "-std=c99", "-Os",
    "-ffunction-sections", "-fstack-size-section", "-fno-sanitize=all", "-fno-stack-protector",
)  # fmt: skip
PROFILES = {
    "P-256 alone": ("-DAF_WITH_EDDSA=0",),
    "P-256 and Ed25519": (),
    "all four algorithms": ("-DAF_WITH_ES384=1", "-DAF_WITH_PS256=1"),
}
DECISIONS = (
    "af_trust_read", "af_trust_accept", "af_judge_assignment", "af_judge_manifest",
    "af_judge_freshness", "af_judge_slot",
)  # fmt: skip
_WRITABLE, _LOADED, _EXECUTED = 1, 2, 4


def measure(flags: tuple[str, ...], headers: Path) -> dict[str, object]:
    """Compile every source and return sizes in bytes.

    Args:
        flags: What the profile adds to the compiler's command line.
        headers: A folder that holds `mbedtls/`.

    Raises:
        subprocess.CalledProcessError: The compiler failed; it has said why.
    """
    code_bytes = read_only_bytes = writable_bytes = 0
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory(prefix="ampforge-verifier-") as folder:
        # A folder of its own: beside mbedTLS's headers lie those of this machine's C library.
        (Path(folder) / "mbedtls").symlink_to(headers / "mbedtls")
        for source in SOURCES:
            compiled = Path(folder) / f"{source.stem}.o"
            subprocess.run(
                (sys.executable, "-m", "ziglang", "cc", *FLAGS, *flags, f"-I{folder}",
                 "-c", str(source), "-o", str(compiled)),
                check=True,
            )  # fmt: skip
            with compiled.open("rb") as stream:
                elf = ELFFile(stream)
                for section in elf.iter_sections():
                    flags_of = section["sh_flags"]
                    if not flags_of & _LOADED or section.name.startswith(".eh_frame"):
                        continue
                    code_bytes += section["sh_size"] if flags_of & _EXECUTED else 0
                    is_read_only = not flags_of & (_EXECUTED | _WRITABLE)
                    read_only_bytes += section["sh_size"] if is_read_only else 0
                    writable_bytes += section["sh_size"] if flags_of & _WRITABLE else 0
                _read_frames(elf, source.stem, frames, calls)
    return {
        "code_bytes": code_bytes,
        "read_only_bytes": read_only_bytes,
        "writable_bytes": writable_bytes,
        "stack_bytes": {name: _deepest(name, frames, calls) for name in DECISIONS},
    }


def _read_frames(elf: Any, unit: str, frames: dict[str, int], calls: dict[str, set[str]]) -> None:
    """Note each function's frame, and each function that its code names."""
    symbols = elf.get_section_by_name(".symtab")
    functions = {
        symbol["st_shndx"]: _name(symbol, unit)
        for symbol in symbols.iter_symbols()
        if symbol["st_info"]["type"] == "STT_FUNC" and isinstance(symbol["st_shndx"], int)
    }
    for section in elf.iter_sections():
        if section.name == ".stack_sizes":
            # An address of four bytes, then the size as ULEB128 (LLVM's -fstack-size-section).
            size_bytes = sum((b & 0x7F) << 7 * i for i, b in enumerate(section.data()[4:]))
            frames[functions[section["sh_link"]]] = size_bytes
        elif section.name.startswith(".rela.text"):
            named = (symbols.get_symbol(r["r_info_sym"]) for r in section.iter_relocations())
            callees = {_name(s, unit) for s in named if s["st_info"]["type"] != "STT_SECTION"}
            calls[functions[section["sh_info"]]] = callees


def _name(symbol: Any, unit: str) -> str:
    """A function's name; one that is static carries its file's, as others may have the same."""
    is_local = symbol["st_info"]["bind"] == "STB_LOCAL"
    return f"{unit}: {symbol.name}" if is_local else str(symbol.name)


def _deepest(start: str, frames: dict[str, int], calls: dict[str, set[str]]) -> int:
    path: list[str] = []

    @cache
    def below(name: str) -> int:
        if name in path:
            raise RecursionError(f"{name} calls itself: the stack has no bound")
        path.append(name)
        deepest = max(
            (below(callee) for callee in calls.get(name, ()) if callee in frames), default=0
        )
        path.pop()
        return frames[name] + deepest

    return below(start)


def main(arguments: list[str] | None = None) -> int:
    """Print one line for each profile.

    Args:
        arguments: The command line without the program's name; the process's own if None.
    """
    parser = argparse.ArgumentParser(description="Measure the verifier for a RISC-V board.")
    parser.add_argument(
        "--mbedtls", type=Path, default=Path("/usr/include"), help="folder that holds mbedtls/"
    )
    headers = parser.parse_args(arguments).mbedtls
    if not (headers / "mbedtls" / "ecdsa.h").is_file():
        parser.error(f"{headers} has no mbedtls/ecdsa.h (Debian: apt-get install libmbedtls-dev)")
    for name, flags in PROFILES.items():
        print(json.dumps({"profile": name, **measure(flags, headers)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

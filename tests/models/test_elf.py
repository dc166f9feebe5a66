from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from secureai_appliance.models.elf import Section, read_sections
from tests.support.elf import elf_file


def test_sections_are_found_by_name_where_their_bytes_are() -> None:
    file = elf_file({".model.one": b"first", ".model.two": b"second!"})
    sections = read_sections(io.BytesIO(file))
    one, two = sections[".model.one"], sections[".model.two"]
    assert file[one.offset : one.offset + one.size] == b"first"
    assert file[two.offset : two.offset + two.size] == b"second!"


def test_the_interpreter_itself_can_be_read() -> None:
    with Path(sys.executable).resolve().open("rb") as program:
        assert read_sections(program)[".text"].size > 0


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"#!/bin/sh\n" * 20,
        b"\x7fELF\x01\x01" + bytes(100),
        elf_file({".a": b"x"})[:-10],
        elf_file({".a": b"x"})[:0x3C] + b"\xff\xff" + elf_file({".a": b"x"})[0x3E:],
    ],
    ids=["empty", "script", "32-bit", "cut off", "too many sections"],
)
def test_what_is_no_whole_64_bit_elf_file_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"ELF|table"):
        read_sections(io.BytesIO(damaged))


def test_a_section_says_where_and_how_long() -> None:
    assert read_sections(io.BytesIO(elf_file({".a": b"abc"})))[".a"] == Section(64, 3)

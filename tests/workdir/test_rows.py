"""Rows of JSON lines, whole or not, and JSON documents that are none."""

import json

import numpy as np
import pytest

from jaxft.workdir.rows import (
    append_row,
    read_object,
    read_rows,
    rewind_rows,
    sealed,
    write_document,
    write_json,
    write_rows,
)


@pytest.fixture
def file(tmp_path):
    for epoch in range(4):
        append_row(tmp_path / "metrics.jsonl", {"epoch": epoch})
    return tmp_path / "metrics.jsonl"


def epochs(file):
    return [row["epoch"] for row in read_rows(file)]


@pytest.mark.parametrize("damage", [b'{"epoch', b"\xff", b"7", b"null", b"[" * 100_000, b""])
def test_a_damaged_row_costs_no_other(file, damage):
    lines = file.read_bytes().split(b"\n")
    lines[1] = damage
    file.write_bytes(b"\n".join(lines))
    assert epochs(file) == [0, 2, 3]
    assert rewind_rows(file, 4) == 1
    assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [0, 2, 3]


def test_rows_are_rewound(file):
    assert rewind_rows(file, 2) == 0
    assert epochs(file) == [0, 1]


def test_no_row_after_a_damaged_one_takes_its_place(file):
    file.write_bytes(file.read_bytes().replace(b'"epoch": 1', b'"epoch: 1'))
    assert rewind_rows(file, 3) == 1
    assert epochs(file) == [0, 2]


@pytest.mark.parametrize("lost", [b'"epoch": 1', b'{"epoch": 1}\n', b'"epoch": 3'])
def test_rows_are_written_again_from_the_checkpoint(file, lost):
    table, whole = read_rows(file), file.read_bytes()
    file.write_bytes(whole.replace(lost, b'"epoch": 7' if lost.endswith(b"3") else b""))
    assert rewind_rows(file, 4, table) == 1
    assert file.read_bytes() == whole
    file.unlink()
    assert rewind_rows(file, 4, table) == 4
    assert file.read_bytes() == whole
    assert rewind_rows(file, 4, table) == 0


def test_a_part_of_a_table_restores_nothing(file):
    table, whole = read_rows(file), file.read_bytes()
    file.write_bytes(whole.replace(b'"epoch": 1', b'"epoch: 1'))
    assert rewind_rows(file, 4, table[1:]) == 1
    assert epochs(file) == [0, 2, 3]


def test_there_may_be_no_file(tmp_path):
    assert rewind_rows(tmp_path / "metrics.jsonl", 3) == 3


def test_a_number_that_is_not_finite_is_null(tmp_path):
    rows, document = tmp_path / "metrics.jsonl", tmp_path / "summary.json"
    row = {"val_loss": float("nan"), "deep": [{"t": np.float64("-inf")}, (float("inf"), 1.5)]}
    told = {"val_loss": None, "deep": [{"t": None}, [None, 1.5]]}

    def refuse(constant):
        raise AssertionError(constant)

    append_row(rows, row)
    write_json(document, row)
    assert json.loads(rows.read_text(), parse_constant=refuse) == told
    assert json.loads(document.read_text(), parse_constant=refuse) == told
    write_rows(rows, [row, row])
    lines = rows.read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [told, told]


@pytest.mark.parametrize("content", [b"[1]", b"7", b"\xff", b"", b"[" * 100_000, b'{"a": 1'])
def test_what_is_no_object_is_none(tmp_path, content):
    (tmp_path / "summary.json").write_bytes(content)
    assert read_object(tmp_path / "summary.json") is None


def test_a_document_is_believed_whole_or_not_at_all(tmp_path):
    file = tmp_path / "summary.json"
    write_document(file, {"accuracy": 0.5, "phases": [], "loss": float("nan")})
    whole = file.read_bytes()
    right = {"accuracy": 0.5, "phases": [], "loss": None}
    assert read_object(file) == right
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        found = read_object(file)
        # In white space, or the digest's own key, which is then one that nobody knows.
        assert found in (None, right) or {**found, **right} == found, bit


def test_a_document_of_an_earlier_version_has_no_digest(tmp_path):
    (tmp_path / "summary.json").write_text('{"accuracy": 0.5}')
    assert read_object(tmp_path / "summary.json") == {"accuracy": 0.5}


def test_a_sealed_row_is_read_without_its_digest(tmp_path):
    append_row(tmp_path / "starts.jsonl", sealed({"to_step": 3}))
    append_row(tmp_path / "starts.jsonl", {**sealed({"to_step": 3}), "to_step": 4})
    assert read_rows(tmp_path / "starts.jsonl") == [{"to_step": 3}]

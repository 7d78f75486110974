"""The published schemas and the wire document say what the code and the catalogue say."""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from contract import ack, data, meta, state, wire
from contract.channels import catalogue
from contract.reading import MAX_TIME_MS, QUALITY_CODES
from contract.topics import MessageKind
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from tests.contract.test_codecs import CODECS, schema

WIRE = Path(__file__).parent.parent.parent / "docs" / "formats" / "wire.md"
LIMIT_UNITS = MAX_CUMULATIVE_MICRO // MICRO


def document(kind: str) -> Any:
    return schema(kind).schema


def test_one_schema_per_kind() -> None:
    folder = Path(wire.__file__).parent / "schema"
    found = {path.name.removesuffix(".schema.json") for path in folder.iterdir()}
    assert found == {kind.value for kind in MessageKind} == set(CODECS)


@pytest.mark.parametrize("kind", CODECS)
def test_every_schema_states_the_limits_and_describes_its_members(kind: str) -> None:
    text = document(kind)["description"]
    assert f"At most {CODECS[kind].limit} bytes" in text
    assert f"at most {wire.MAX_DEPTH} levels" in text
    for name, member in document(kind)["properties"].items():
        assert member.get("description") or member.get("$ref") or name == "ok"


def test_the_data_schema_lists_the_catalogue() -> None:
    columns = document("data")["$defs"]["block"]["properties"]
    channels = columns["channels"]["properties"]
    assert list(channels) == list(catalogue())
    assert columns["quality"]["propertyNames"]["enum"] == list(catalogue())
    for name, row in catalogue().items():
        assert channels[name]["$ref"] == f"#/$defs/{row.kind.value}"
        assert channels[name]["description"] == f"[{row.unit.value}] {row.description}"


def test_the_data_schema_states_the_limits() -> None:
    definitions = document("data")["$defs"]
    block, values = definitions["block"]["properties"], definitions["cumulative"]["items"]
    assert (values["minimum"], values["maximum"]) == (-LIMIT_UNITS, LIMIT_UNITS)
    assert definitions["codes"]["items"]["enum"] == sorted(QUALITY_CODES)
    assert block["t0"]["maximum"] == block["dt"]["items"]["maximum"] == MAX_TIME_MS
    assert block["dt"]["maxItems"] == data.MAX_TIMES
    top = document("data")["properties"]
    assert top["seq"]["maximum"] == wire.MAX_SEQ
    assert top["blocks"]["maxItems"] == data.MAX_BLOCKS
    assert top["void"]["maxItems"] == wire.MAX_RANGES


def test_the_meta_schema_pairs_names_with_units() -> None:
    channel = document("meta")["$defs"]["channel"]
    pairs = {
        name: branch["properties"]["unit"]["const"]
        for branch in channel["oneOf"]
        for name in branch["properties"]["name"]["enum"]
    }
    assert pairs == {name: row.unit.value for name, row in catalogue().items()}
    assert channel["properties"]["name"]["enum"] == list(catalogue())
    assert channel["properties"]["modulus"]["maximum"] == LIMIT_UNITS
    assert document("meta")["properties"]["meters"]["maxItems"] == meta.MAX_METERS


def test_the_ack_schema_states_the_limits() -> None:
    top = document("ack")["properties"]
    assert top["outboxes"]["maxProperties"] == ack.MAX_OUTBOXES
    assert top["need_meta"]["maxItems"] == ack.MAX_NEED_META
    ranges = top["outboxes"]["additionalProperties"]["properties"]["ranges"]
    assert ranges["maxItems"] == wire.MAX_RANGES


@pytest.mark.parametrize(
    "kind",
    [state.EdgeState, state.ClockState, state.OutboxState, state.UplinkState, state.BusState,
     state.MeterState],
)  # fmt: skip
def test_the_state_schema_has_the_members_of_the_state(kind: type) -> None:
    top = document("state")
    found = top if kind is state.EdgeState else top["$defs"][kind.__name__]
    members = [field.name for field in fields(kind)]
    assert [name for name in found["properties"] if name != "v"] == members
    required = [
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    ]
    assert [name for name in found.get("required", []) if name != "v"] == required


# ---------------------------------------------------------------------------------- docs/formats


def test_the_document_lists_the_catalogue() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\S+) \| (\w+) \| (.+) \|$", WIRE.read_text("utf-8"), re.MULTILINE
    )
    assert rows == [
        (row.name, row.unit.value, row.kind.value, row.description) for row in catalogue().values()
    ]


def test_the_document_states_the_limits() -> None:
    text = WIRE.read_text("utf-8")
    for kind, codec in CODECS.items():
        assert f"| `{kind}` | {codec.limit:,} bytes |".replace(",", " ") in text
    for number in (wire.MAX_DEPTH, wire.MAX_RANGES, wire.MAX_SEQ, MAX_TIME_MS, LIMIT_UNITS):
        assert f"{number:,}".replace(",", " ") in text


def test_the_examples_of_the_document_are_valid() -> None:
    text = WIRE.read_text("utf-8")
    examples = re.findall(r"^### `(\w+)`.*?```json\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in examples} == set(CODECS)
    for kind, example in examples:
        CODECS[kind].decode(example.encode())
        schema(kind).validate(json.loads(example))

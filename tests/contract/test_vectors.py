"""The golden vectors: what was once valid keeps its meaning, what was invalid stays refused."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from contract.ack import Ack, decode_ack
from contract.channels import catalogue
from contract.command import decode_command, decode_reply
from contract.data import Batch, decode_data, readings_of
from contract.meta import Meta, decode_meta, meta_hash
from contract.state import EdgeState, decode_state
from contract.wire import DecodeError
from tests.contract.strategies import VECTORS, load
from tests.contract.test_codecs import CODECS, schema

KINDS = ("meta", "data", "state", "ack", "cmd", "reply")


def expected(kind: str, which: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (VECTORS / kind / f"{which}.expected.json").read_text(encoding="utf-8")
    )
    return document


def cases(which: str) -> list[tuple[str, str]]:
    return [
        (kind, path.stem)
        for kind in KINDS
        for path in sorted((VECTORS / kind / which).glob("*.json"))
    ]


def meaning_of_data(batch: Batch) -> dict[str, Any]:
    rows = [[r.meter, r.channel, r.time_ms, r.value, int(r.quality)] for r in readings_of(batch)]
    head = {"outbox": batch.outbox, "seq": batch.seq, "meta": batch.meta, "floor": batch.floor}
    return {**head, "void": [list(pair) for pair in batch.void], "readings": rows}


def meaning_of_meta(meta: Meta) -> list[dict[str, Any]]:
    return [
        {
            "id": meter.id,
            "serial": meter.serial,
            "model": meter.model,
            "channels": [[c.name, c.unit, c.modulus, c.rating] for c in meter.channels],
        }
        for meter in meta.meters
    ]


def meaning_of_ack(ack: Ack) -> dict[str, Any]:
    outboxes = {
        name: {"upto": settled.upto, "ranges": [list(pair) for pair in settled.ranges]}
        for name, settled in ack.outboxes.items()
    }
    return {"time_ms": ack.time_ms, "outboxes": outboxes, "need_meta": list(ack.need_meta)}


def meaning_of_state(state: EdgeState, stated: dict[str, Any]) -> dict[str, Any]:
    """The members that the vector states; the others must have their defaults."""
    default = asdict(EdgeState(online=False, time_ms=0))
    told = json.loads(json.dumps(asdict(state)))
    rest = {name: value for name, value in told.items() if name not in stated}
    assert rest == {name: json.loads(json.dumps(default[name])) for name in rest}
    found = {name: told[name] for name in stated}
    if "outbox" in stated:  # members that came later than the vector have their defaults too
        later = {k: v for k, v in told["outbox"].items() if k not in stated["outbox"]}
        assert later == {k: default["outbox"][k] for k in later}
        found["outbox"] = {k: told["outbox"][k] for k in stated["outbox"]}
    return found


@pytest.mark.parametrize(("kind", "name"), cases("valid"))
def test_valid(kind: str, name: str) -> None:
    payload = (VECTORS / kind / "valid" / f"{name}.json").read_bytes()
    stated = expected(kind, "valid")[name]
    found: Any
    if kind == "data":
        found = meaning_of_data(decode_data(payload))
        numbers = [row[3] for row in stated["readings"]]
        assert [type(row[3]) for row in found["readings"]] == [type(n) for n in numbers]
    elif kind == "meta":
        found = {"meters": meaning_of_meta(decode_meta(payload)), "sha256": meta_hash(payload)}
    elif kind == "ack":
        found = meaning_of_ack(decode_ack(payload))
    elif kind == "state":
        found = meaning_of_state(decode_state(payload), stated)
    else:
        found = asdict(decode_command(payload) if kind == "cmd" else decode_reply(payload))
    assert found == stated
    schema(kind).validate(load(payload))


@pytest.mark.parametrize(("kind", "name"), cases("invalid"))
def test_invalid(kind: str, name: str) -> None:
    payload = (VECTORS / kind / "invalid" / f"{name}.json").read_bytes()
    with pytest.raises(DecodeError) as error:
        CODECS[kind].decode(payload)
    assert error.value.where == expected(kind, "invalid")[name]


@pytest.mark.parametrize("which", ["valid", "invalid"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_vector_has_its_expectation(kind: str, which: str) -> None:
    files = {path.stem for path in (VECTORS / kind / which).iterdir()}
    assert files == set(expected(kind, which))


def test_the_catalogue_only_grows_at_its_end() -> None:
    pinned = json.loads((VECTORS / "catalogue.json").read_text(encoding="utf-8"))
    rows = [[c.name, c.unit.value, c.kind.value] for c in catalogue().values()]
    assert rows[: len(pinned)] == pinned
    assert len(rows) == len(pinned), "append the new row to contract/vectors/v1/catalogue.json"
    assert [c.index for c in catalogue().values()] == list(range(len(rows)))

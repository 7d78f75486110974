"""Make readings of JSON messages: numbers as the decimals they are written as. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from contract.reading import Reading
from edge_agent.codecs.mqtt_json import Message, ReadTopics
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import NO_VALUE, Converted, converter
from edge_agent.maps.mqtt_json import ADDRESS, Member, MqttJsonMap


class MqttJsonDecoder:
    """The question for one meter's topics and how to make readings of its messages."""

    __slots__ = ("_members", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: MqttJsonMap) -> None:
        """ValueError when the meter has no name to put into its topics."""
        self.meter = meter
        name = meter.address
        if not name or set(name) & set("+#/ "):
            raise ValueError(f"{name!r} is no name for a topic: letters, digits, - and _")
        self._members: dict[str, list[Member]] = {}
        for member in device.registers:
            self._members.setdefault(member.topic.replace(ADDRESS, name), []).append(member)
        self.questions = (ReadTopics(meter.id, tuple(self._members)),)

    def decode(
        self, index: int, answer: Sequence[Message], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        readings = []
        for message in answer:
            members = self._members[message.topic]
            try:
                document = json.loads(message.payload, parse_float=Decimal, parse_int=Decimal)
            except (ValueError, RecursionError):
                drops[NO_VALUE] += len(members)
                continue
            at_ms = time_ms - round(message.age_s * 1000)
            for member in members:
                done = _value(member, document)
                if isinstance(done, str):
                    drops[done] += 1
                else:
                    readings.append(Reading(self.meter.id, member.channel, at_ms, done[0], done[1]))
        return readings


def _value(member: Member, document: Any) -> Converted:
    for step in member.path:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return NO_VALUE
    if not isinstance(document, Decimal) or not document.is_finite():
        return NO_VALUE
    if abs(document.adjusted()) > 20:
        return NO_VALUE
    sign, digits, exponent = document.as_tuple()
    raw = int("".join(map(str, digits))) * (-1 if sign else 1)
    scale = member.scale * Decimal(1).scaleb(int(exponent))
    return converter(replace(member, scale=scale))(raw)

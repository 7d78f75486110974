"""What edges say they read: all of it by hash, and which of it is in force."""

from collections.abc import Callable, Iterable

from aggregator.parameters import Parameters
from aggregator.recorder import Recorder
from aggregator.records import StoredMeta
from contract.meta import Meta, decode_meta, meta_hash
from contract.topics import Address


class Metas:
    """Owned by the pipeline's thread; begins with what the records have."""

    def __init__(
        self,
        stored: Iterable[StoredMeta],
        recorder: Recorder,
        parameters: Parameters,
        tell: Callable[[Address, Meta, int, str], None],
    ) -> None:
        self._recorder = recorder
        self._parameters = parameters
        self._tell = tell
        """Gets each meta that comes into force, with the reading's time [ms] and its name."""
        self._known: dict[tuple[Address, str], Meta] = {}
        self._in_force: dict[Address, tuple[int, str]] = {}
        """Per edge the time of its newest reading [ms] and the meta it was read under."""
        for one in stored:
            meta = parameters.lean(decode_meta(one.payload))
            self._known[one.address, one.hash] = meta
            parameters.note_readers(one.address, meta)
            if one.used_ms:
                self._in_force[one.address] = one.used_ms, one.hash
                tell(one.address, meta, one.used_ms, one.hash)

    def __contains__(self, key: tuple[Address, str]) -> bool:
        return key in self._known

    def take(self, address: Address, payload: bytes) -> None:
        """Keep a meta; DecodeError.

        When the records do not take it, it is unknown as before: the edge is asked for it again
        when its data come.
        """
        meta, name = decode_meta(payload), meta_hash(payload)
        if (address, name) not in self:
            kept = self._recorder.attempt(lambda records: records.put_meta(name, payload, address))
            if kept is not None:
                self._known[address, name] = self._parameters.lean(meta)
                self._parameters.note_readers(address, meta)

    def use(self, address: Address, name: str, newest_ms: int) -> None:
        """Let the meta of an edge's newest reading be in force, whatever order batches come in."""
        last_ms, last = self._in_force.get(address, (0, ""))
        if (newest_ms, name) > (last_ms, last):
            self._in_force[address] = newest_ms, name
            if name != last:
                self._tell(address, self._known[address, name], newest_ms, name)
                self._recorder.attempt(lambda records: records.use_meta(name, address, newest_ms))

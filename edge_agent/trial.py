"""A pushed configuration is on trial until the agent is back with it: then kept, else taken back.

Files beside the outbox
    config.previous     the configuration that was in force, byte for byte
    config.trial        JSON: id of the command, how long the trial lasts, how often it was started
    config.reply        JSON: id of the command, why its configuration was taken back

The configuration itself is replaced by a rename. At every start `begin` looks for a trial: too
many starts (the agent died each time) or a configuration that cannot be read ends it at once.
Connected within the time, `keep`; else `take_back`, and the agent begins anew with what was before.
Whatever is killed when, the next start finds either configuration whole, and the trial's file.
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import EdgeConfig, parse_config
from edge_agent.errors import ConfigError, Problem

MAX_STARTS = 3
TRIAL_S = 120.0
_FROZEN = ("edge", "outbox")
"""Who this edge is, where it stores and how much: only at the gateway itself."""
_FROZEN_UPLINK = ("password_file", "tls_ca", "tls_certificate", "tls_key")


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration on trial. `refused` says why it is over already, "" when it is not."""

    id: str
    trial_s: float
    refused: str = ""


def changed_from_afar(raw: bytes, file: Path, now: EdgeConfig) -> EdgeConfig:
    """Return what a pushed configuration says; ConfigError when it is wrong or says too much."""
    pushed = parse_config(raw, file)
    problems = [
        Problem(f"{name}.{field.name}", "cannot be changed from afar")
        for name in _FROZEN
        for field in dataclasses.fields(getattr(now, name))
        if getattr(getattr(pushed, name), field.name) != getattr(getattr(now, name), field.name)
    ]
    problems += [
        Problem(f"uplink.{name}", "cannot be changed from afar")
        for name in _FROZEN_UPLINK
        if getattr(pushed.uplink, name) != getattr(now.uplink, name)
    ]
    if problems:
        raise ConfigError(str(file), problems)
    return pushed


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file at once and for good: after a power cut it is the old or the new one."""
    fresh = file.with_name(file.name + ".new")
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    with fresh.open("wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Trials:
    """The trial of one agent: `file` is its configuration, `folder` where its outbox lies."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file = file
        self._previous = folder / "config.previous"
        self._note = folder / "config.trial"
        self._reply = folder / "config.reply"

    def start(self, raw: bytes, command: str, trial_s: float) -> None:
        """Put a configuration in force. The agent is to begin anew after this."""
        write_whole(self._previous, self._file.read_bytes())
        self._write(command, trial_s, 0)
        write_whole(self._file, raw)

    def begin(self) -> Trial | None:
        """At the start of the agent: the trial under way, and whether it is over; None without."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
            command, trial_s, starts = note["id"], float(note["trial_s"]), int(note["starts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if starts >= MAX_STARTS:
            return Trial(command, trial_s, f"the agent did not come back in {starts} starts")
        self._write(command, trial_s, starts + 1)
        return Trial(command, trial_s)

    def keep(self) -> None:
        """The agent is back: the trial is over."""
        self._note.unlink(missing_ok=True)

    def take_back(self, command: str, reason: str) -> None:
        """Put the configuration before the trial in force again; the agent is to begin anew."""
        write_whole(self._reply, json.dumps({"id": command, "reason": reason}).encode())
        write_whole(self._file, self._previous.read_bytes())
        self._note.unlink(missing_ok=True)

    def taken_back(self) -> tuple[str, str] | None:
        """Take (command's id, why) of a configuration that was taken back, once."""
        try:
            said = json.loads(self._reply.read_text("utf-8"))
            self._reply.unlink()
            return str(said["id"]), str(said["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, command: str, trial_s: float, starts: int) -> None:
        note = {"id": command, "trial_s": trial_s, "starts": starts}
        write_whole(self._note, json.dumps(note).encode())

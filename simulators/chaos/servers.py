"""Debian's servers as parts of a run: where their programs are and how they are configured."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {folder}/
autosave_interval 1
max_inflight_messages {inflight}
max_queued_messages {queued}
max_queued_bytes 268435456
set_tcp_nodelay true
log_type error
log_type warning
"""
_INFLUXD = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  index-version = "tsi1"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
"""


def find_program(name: str) -> str | None:
    """Path of a server's program; Debian keeps some off a user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path)


def mosquitto_config(port: int, folder: Path, *, queued: int = 0) -> str:
    """A mosquitto that saves what it keeps. queued: messages kept for a slow client; 0: any."""
    user = "root" if os.geteuid() == 0 else "mosquitto"  # only root's is looked at
    return _MOSQUITTO.format(
        port=port, folder=folder, user=user, inflight=queued or 2000, queued=queued
    )


def influxd_config(folder: Path, http: int, rpc: int) -> str:
    """An InfluxDB 1.x on its own folder and ports."""
    return _INFLUXD.format(folder=folder, http=http, rpc=rpc)

"""The demo's MQTT broker: iotcore (rumqttd in a wheel) in a process of its own.

In memory only and without access rules: for the demo. Production uses mosquitto, see deploy/.
iotcore's own limit of 20 KB a message closes the connection of an edge with a day's backlog.
"""

from __future__ import annotations

import os
import sys

from contract.wire import MAX_META_BYTES

PACKET_HEAD_BYTES = 1024

if __name__ == "__main__":
    from iotcore import IotCoreBroker

    os.environ.setdefault("RUST_LOG", "warn")  # else a line for every message
    IotCoreBroker(
        listen="127.0.0.1",
        port=int(sys.argv[1]),
        max_payload_size=MAX_META_BYTES + PACKET_HEAD_BYTES,
    ).run_forever()

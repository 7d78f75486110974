"""The demo's MQTT broker: iotcore (rumqttd in a wheel) in a process of its own.

In memory only and without access rules: for the demo. Production uses mosquitto, see deploy/.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from iotcore import IotCoreBroker

    IotCoreBroker(listen="127.0.0.1", port=int(sys.argv[1])).run_forever()

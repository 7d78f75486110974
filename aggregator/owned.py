"""Takes the store over for one run of a command.

The store has one owner, so no aggregator may run on the same data: the lock file of the embedded
store sees to it, for InfluxDB the API's port does.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.app import open_store
from aggregator.config import Config
from aggregator.store.base import Store, StoreOwned


@contextmanager
def owned_store(config: Config, owner: str) -> Iterator[Store]:
    """Open the store of a configuration; StoreOwned, with its address, while somebody has it."""
    if config.store.kind != "embedded":
        refuse_beside_an_aggregator(config)
    data_dir = Path(config.aggregator.data_dir)
    store = open_store(config.store, data_dir, config.aggregator.grid_ms, owner)
    try:
        yield store
    finally:
        store.close()


def refuse_beside_an_aggregator(config: Config) -> None:
    """Raise StoreOwned when something answers where an aggregator of this configuration would."""
    address = (config.api.host, config.api.port)
    try:
        socket.create_connection(address, timeout=2.0).close()
    except OSError:
        return
    where = f"http://{address[0]}:{address[1]}"
    raise StoreOwned(f"an aggregator seems to run: {where} answers", where)

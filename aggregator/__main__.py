"""`nenghao aggregate`: run the aggregator, or check its configuration."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong configuration."""
    parser = argparse.ArgumentParser(
        prog="nenghao aggregate",
        description="Take readings from MQTT, keep the energy ledger in the store, acknowledge "
        "what is committed, serve the HTTP API.",
    )
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the aggregator")
    parser.add_argument(
        "--check-config", action="store_true", help="name every problem of the file and stop"
    )
    arguments = parser.parse_args(argv)

    from aggregator.config import ConfigError, load

    try:
        config = load(arguments.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.check_config:
        print(f"{arguments.config}: good")
        return 0

    from sqlalchemy.exc import OperationalError

    from aggregator.app import run
    from aggregator.ledger.rows import TableError
    from aggregator.parameters import ParametersError
    from aggregator.records import RecordsUnavailable
    from aggregator.register.engine import DatabaseError
    from aggregator.register.problems import RegisterError
    from aggregator.store.base import StoreError

    try:
        return run(config)
    except (
        DatabaseError,
        RecordsUnavailable,
        OperationalError,
        RegisterError,
        TableError,
        ParametersError,
        StoreError,
        OSError,
    ) as error:
        print(f"nenghao aggregate: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

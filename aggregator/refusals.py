"""What stands in the way of a command that opens an aggregator's store: one line, one exit code."""

import sys
from collections.abc import Callable

from aggregator.config import ConfigError
from aggregator.ledger.rows import TableError
from aggregator.parameters import ParametersError
from aggregator.records import RecordsUnavailable
from aggregator.register.engine import DatabaseError
from aggregator.register.problems import RegisterError
from aggregator.store.base import StoreError, StoreOwned

EXIT_FAILED = 1
EXIT_USAGE = 2


class NothingThereError(Exception):
    """The store has nothing of what was asked for; the message says of what."""


def guarded(command: str, verb: str, action: Callable[[], int], *own: type[Exception]) -> int:
    """Do it and return its exit code: 1 what failed, 2 the configuration is wrong.

    verb: what can be done once the aggregator is stopped. own: errors of this command alone.
    """
    refusals: tuple[type[Exception], ...] = (
        DatabaseError,
        NothingThereError,
        ParametersError,
        RecordsUnavailable,
        RegisterError,
        StoreError,
        TableError,
        OSError,
        *own,
    )
    try:
        return action()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    except StoreOwned as error:
        sys.stderr.write(
            f"{command}: {error}\nIts owner is {error.owner}: stop it, {verb}, and start it again; "
            "edges keep what they read meanwhile.\n"
        )
    except refusals as error:
        sys.stderr.write(f"{command}: {error}\n")
    return EXIT_FAILED

"""The one numba decorator of the project, and the list of kernels to compile before the first call.

Policy: serial (one core does far more than a city sends; parallel kernels abort under some
threading layers), nogil (the API's thread goes on meanwhile), no fastmath (NaN means "not known"),
compiled code cached on disk. With NUMBA_DISABLE_JIT=1 the same functions run as plain Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., object])


@cache
def _cache_by_content() -> None:
    """Give each state of this folder's sources a cache of its own.

    Numba looks only at the file that defines a function: a kernel that calls one in another file
    would go on using the old one from its cache. NUMBA_CACHE_DIR, when set, is left alone.
    """
    if not config.CACHE_DIR:  # type: ignore[attr-defined]
        folder = Path(__file__).parent
        digest = hashlib.sha256()
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
        where = folder / "__pycache__" / f"numba-{digest.hexdigest()[:12]}"
        config.CACHE_DIR = str(where)  # type: ignore[attr-defined]


def kernel(function: F) -> F:
    """Compile at the first call, for the argument types of that call."""
    _cache_by_content()
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def warm_up() -> None:
    """Compile, or load from the cache, every kernel for the argument types the product uses.

    Seconds without a cache, a few tenths of a second with one; for process start and image builds.
    """
    from aggregator.kernels import account, integral, register, rollup, verdict  # noqa: PLC0415 - cycle

    for module in (verdict, register, rollup, account, integral):
        module.warm_up()

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cases.rig import Story


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Callable[..., Story]]:
    """Begin the one story of a test."""
    begun: list[Story] = []

    def begin(**limits: Any) -> Story:
        begun.append(Story(tmp_path, **limits))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()

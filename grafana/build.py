"""Renders all dashboards and alert rules: the committed files under rendered/."""

from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import alerts
from grafana.board import Maker, dashboard
from grafana.dashboards import building, carbon, fleet, meter, networks, quality, region, site
from grafana.words import LANGUAGES, Words

MAKERS: tuple[Maker, ...] = (
    region.make,
    site.make,
    building.make,
    carbon.make,
    meter.make,
    fleet.make,
    quality.make,
    networks.make,
)
FOLDER = Path(__file__).parent / "rendered"


def rendered(docs: str = alerts.DOCS) -> Mapping[str, str]:
    """Return the text of each file by its path below `rendered/`.

    docs: address under which docs/ is found.
    """
    files: dict[str, str] = {}
    encoder = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False)
    for language in LANGUAGES:
        words = Words(language)
        for make in MAKERS:
            board = make(words)
            text = encoder.encode(dashboard(board, words))
            files[f"{language}/dashboards/{board.id}.json"] = f"{text}\n"
        files[f"{language}/alerting/rules.json"] = f"{alerts.provisioning(words, docs)}\n"
    return files


def stale(folder: Path = FOLDER, docs: str = alerts.DOCS) -> list[str]:
    """Return the paths that are missing or not as rendered now, and those rendered no longer."""
    wanted = rendered(docs)
    found = [
        name
        for name, text in wanted.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    return found + sorted(there - wanted.keys())


def write(folder: Path = FOLDER, docs: str = alerts.DOCS) -> list[str]:
    """Make the folder as rendered now; return the paths changed."""
    changed, wanted = stale(folder, docs), rendered(docs)
    for name in changed:
        path = folder / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
    return changed

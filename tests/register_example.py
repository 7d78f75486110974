"""The example folder of docs/register.md: one source for the page, its test and the register's."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "register.md"
_EXAMPLE = re.compile(r"^## (\S+\.\S+)\n.*?^```(?:csv|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example() -> dict[str, str]:
    """File name -> text, as the page shows it."""
    return dict(_EXAMPLE.findall(PAGE.read_text("utf-8")))


def write_folder(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def read_folder(folder: Path) -> dict[str, str]:
    """Every file of a folder, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

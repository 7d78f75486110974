"""`nenghao edge enrol`: a key that never leaves the device, and the request to sign it.

openssl makes both: it is on every Raspberry Pi OS, and nothing new has to be installed.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import EdgeIdentity
from edge_agent.errors import EdgeError


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where key and request were written; `made` is False for a key that was there."""

    key: Path
    request: Path
    subject: str
    made: bool


def enrol(identity: EdgeIdentity, folder: Path) -> Enrolment:
    """Make key.pem (0600, kept when it is there) and request.csr; EdgeError when it fails.

    The common name is region/site/edge: what the broker's access list knows an edge by.
    """
    subject = f"{identity.region}/{identity.site}/{identity.id}"
    key, request = folder / "key.pem", folder / "request.csr"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = not key.exists()
        if made:
            # Opened with its mode before anything is in it: at no moment can others read it.
            descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout"))
        name = "/CN=" + subject.replace("/", "\\/")
        request.write_bytes(_openssl("req", "-new", "-key", str(key), "-subj", name))
    except OSError as error:
        raise EdgeError(f"{folder}: {error.strerror}") from error
    return Enrolment(key, request, subject, made)


def _openssl(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        raise EdgeError("openssl is not installed: apt install openssl") from None
    if done.returncode != 0:
        raise EdgeError(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout

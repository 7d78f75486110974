"""When the client certificate ends, read from its file: no module of the standard library says it.

`ssl` gives ``notAfter`` of certificate authorities and of the other side only, so the few bytes of
DER on the way to it are walked here (RFC 5280, 4.1).
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION, _UTC_TIME = 0xA0, 0x17


def expires_ms(path: Path) -> int | None:
    """End of the first certificate of a PEM file [ms UTC], None when it cannot be told."""
    try:
        pem = path.read_text("ascii", "replace")
        block = pem[pem.index(_BEGIN) : pem.index(_END) + len(_END)]
        certificate = next(_elements(ssl.PEM_cert_to_DER_cert(block)))[1]
        fields = _elements(next(_elements(certificate))[1])
        tag, _ = next(fields)  # version, absent in version 1, else serial number
        skipped = 3 if tag == _VERSION else 2  # serial number, signature algorithm, issuer
        for _ in range(skipped):
            next(fields)
        _, validity = next(fields)
        _, (tag, end) = _elements(validity)
        text = end.decode("ascii")
        if tag == _UTC_TIME:
            text = ("19" if text[:2] >= "50" else "20") + text
        moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return round(moment.timestamp() * 1000)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of the elements that stand one after the other."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            digits = length & 0x7F
            length = int.from_bytes(der[at : at + digits])
            at += digits
        yield tag, der[at : at + length]
        at += length

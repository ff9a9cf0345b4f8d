"""Files of the internet: fetched whole into the attempt's folder, from addresses that were judged before.

The name of a host is resolved once and the connection goes to the address that was judged, so that a name which means
something else a moment later leads nowhere; each redirect is judged again.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from pipelines.ingest.sources.allowed import Allowed
from pipelines.ingest.sources.errors import BadSource, first_line

CHUNK = 1 << 20
MOST_REDIRECTS = 5
MOVED = (301, 302, 303, 307, 308)
ADVICE = {401: "it wants a password", 403: "it is forbidden", 404: "it is not there: check the address"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched: where it is now, and what it is."""

    url: str
    path: Path
    size: int
    sha256: str
    etag: str = ""
    modified: str = ""


def fetch(
    url: str,
    folder: Path,
    allowed: Allowed,
    timeout_s: float,
    heard: Callable[[int], None] = lambda n_bytes: None,
) -> Fetched:
    """Fetch a file; raises BadSource. ``heard`` is called with the bytes so far and may raise to end it."""
    at = url
    for _ in range(MOST_REDIRECTS + 1):
        connection, path = _connect(at, allowed, timeout_s)
        try:
            connection.request("GET", path, headers={"User-Agent": "aios-ingest", "Accept-Encoding": "identity"})
            answer = connection.getresponse()
            if answer.status in MOVED:
                at = urljoin(at, answer.headers.get("Location", ""))
                continue
            if answer.status != 200:
                advice = ADVICE.get(answer.status, "try again later")
                raise BadSource(f"{url}: the server answers {answer.status} {answer.reason}: {advice}")
            return _save(url, answer, folder, heard)
        except TimeoutError:
            raise BadSource(
                f"{url}: the server said nothing for {timeout_s:g} s: try again later, or give it longer by timeout"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise BadSource(f"{url}: the connection broke: {first_line(error)}") from None
        finally:
            connection.close()
    raise BadSource(f"{url}: is moved more than {MOST_REDIRECTS} times")


def _connect(url: str, allowed: Allowed, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSource(f"{url}: leads to no http or https address")
    if parts.username or parts.password:
        raise BadSource(f"{parts.hostname}: the address holds a user or a password: take them out")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = allowed.host(parts.hostname, port)
    made: http.client.HTTPConnection
    if parts.scheme == "https":
        made = http.client.HTTPSConnection(parts.hostname, port, timeout=timeout_s)
    else:
        made = http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)
    try:
        sock = socket.create_connection((address, port), timeout_s)
        made.sock = (
            ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)
            if parts.scheme == "https"
            else sock
        )
    except OSError as error:
        raise BadSource(f"{url}: cannot connect to {parts.hostname}:{port}: {first_line(error)}") from None
    return made, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _save(url: str, answer: http.client.HTTPResponse, folder: Path, heard: Callable[[int], None]) -> Fetched:
    folder.mkdir(parents=True, exist_ok=True)
    name = os.path.basename(unquote(urlsplit(url).path)) or "file"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            heard(size)
    expected = answer.headers.get("Content-Length")
    if expected is not None and size != int(expected):
        raise BadSource(f"{url}: broke off after {size} of {expected} bytes: try again")
    headers = answer.headers
    return Fetched(url, path, size, digest.hexdigest(), headers.get("ETag", ""), headers.get("Last-Modified", ""))

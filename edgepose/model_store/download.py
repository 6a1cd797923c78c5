"""Fetches a model and its card over http(s): bounded, resumed where the line breaks, judged by its sha256."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from edgepose.errors import EdgeposeError, ModelError

MOST_BYTES = 64_000_000
MOST_CARD_BYTES = 4_000_000
TIMEOUT_S = 20.0  # without a byte
PATIENCE_S = 900.0  # for all of it, with a line that breaks again and again
_PAUSE_S = 2.0
_BLOCK = 65_536
_PARTIAL, _ALL, _RANGE_NOT_SATISFIABLE, _TOO_MANY, _SERVER_ERROR = 206, 200, 416, 429, 500


class _NoOtherScheme(urllib.request.HTTPRedirectHandler):
    """A redirection must not lead to a file of this device, nor from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917  the library's signature
        if urlsplit(newurl).scheme not in {"https", urlsplit(req.full_url).scheme}:
            raise ModelError(f"{req.full_url}: is redirected to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    _NoOtherScheme,
    urllib.request.UnknownHandler,
):
    _OPENER.add_handler(_handler())


def check_url(url: str) -> None:
    """Raises ModelError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.path.endswith(".tflite"):
        raise ModelError(f"{url}: give an http:// or https:// address that ends with .tflite; its card lies beside it")


def download_model(url: str, sha256: str, folder: Path, stopped: Callable[[], bool]) -> Path:
    """The model in `folder`, with its card. What is there of an earlier attempt is gone on with. stopped: asked between
    blocks. Raises ModelError, and EdgeposeError where the folder cannot be written."""
    check_url(url)
    parts = urlsplit(url)
    card_url = urlunsplit(parts._replace(path=parts.path.removesuffix(".tflite") + ".json"))
    model = folder / "model.tflite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(url, model, MOST_BYTES, stopped)
        found = _sha256(model)
        if found != sha256.lower():
            shutil.rmtree(folder)
            raise ModelError(f"{url}: has the sha256 {found}, not the one that was told; give the right one")
        model.with_suffix(".json").unlink(missing_ok=True)
        _fetch(card_url, model.with_suffix(".json"), MOST_CARD_BYTES, stopped)
    except OSError as exc:
        raise EdgeposeError(f"{folder}: cannot write what is downloaded ({exc.strerror or exc}); make room") from None
    return model


def _fetch(url: str, path: Path, most: int, stopped: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _attempt(url, path, most, stopped)
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code < _SERVER_ERROR and exc.code != _TOO_MANY:
                raise ModelError(f"{url}: the server says {exc.code} {exc.reason}; correct the address") from None
            why = f"{exc.code} {exc.reason}"
        except urllib.error.URLError as exc:
            why = str(exc.reason)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as exc:
            why = str(exc) or type(exc).__name__
        if stopped() or time.monotonic() > deadline:
            raise ModelError(f"{url}: cannot be fetched ({why}); what has come is kept, try again") from None
        time.sleep(_PAUSE_S)


def _attempt(url: str, path: Path, most: int, stopped: Callable[[], bool]) -> None:
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "edgepose"})  # noqa: S310  check_url has looked at it
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = _OPENER.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        if exc.code != _RANGE_NOT_SATISFIABLE:
            raise
        exc.close()
        return  # all of it has come before
    with answer, path.open("ab" if answer.status == _PARTIAL else "wb") as file:
        size = have if answer.status == _PARTIAL else 0
        left = int(answer.headers.get("Content-Length") or 0)
        if size + left > most:
            raise ModelError(f"{url}: has {(size + left) / 1e6:.0f} MB, more than the {most / 1e6:.0f} that are taken")
        while block := answer.read(_BLOCK):
            size, left = size + len(block), left - len(block)
            if size > most:
                raise ModelError(f"{url}: has more than the {most / 1e6:.0f} MB that are taken")
            if stopped():
                raise ModelError(f"{url}: stopped; what has come is kept")
            file.write(block)
        if left > 0:
            raise ConnectionError("the line broke")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

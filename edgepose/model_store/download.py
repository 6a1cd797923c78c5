"""Downloads a model, which is one file, over http(s), with bounds. Where the line breaks, the download is resumed."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_file import MOST_BYTES, NETWORK
from edgepose.model_store.store import Store, Version
from edgepose.system.state_files import locked

_BLOCK = 65_536
_PARTIAL, _ALL, _RANGE_NOT_SATISFIABLE, _TOO_MANY, _SERVER_ERROR = 206, 200, 416, 429, 500


@dataclass(frozen=True, slots=True)
class DownloadBounds:
    """Bounds of a download.

    Attributes:
        timeout_s: a line that brings no byte for so long counts as broken.
        total_s: for all attempts of one file.
        pause_s: between two attempts.
    """

    most_bytes: int = MOST_BYTES
    timeout_s: float = 20.0
    total_s: float = 900.0
    pause_s: float = 2.0


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
    """Raises ModelError where a model cannot be downloaded from such an address."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.path.endswith(".tflite"):
        raise ModelError(f"{url}: give an http:// or https:// address that ends with .tflite")


def download_model(
    url: str, sha256: str, folder: Path, stopped: Callable[[], bool], bounds: DownloadBounds = DownloadBounds()
) -> Path:
    """Downloads a model into `folder`, where a download that was interrupted is continued.

    Args:
        sha256: of the whole file, in hexadecimal digits.
        stopped: asked between blocks; True ends the download.

    Returns:
        The path of the model.

    Raises:
        ModelError: the address, the server or the file is wrong.
        EdgeposeError: the folder cannot be written.
    """
    check_url(url)
    model = folder / NETWORK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(url, model, stopped, bounds)
        with model.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            shutil.rmtree(folder)
            raise ModelError(f"{url}: has the sha256 {found}, not the one that was given; give the right one")
    except OSError as exc:
        raise EdgeposeError(f"{folder}: cannot write what is downloaded ({exc.strerror or exc}); make room") from None
    return model


def install_from(
    url: str, sha256: str, store: Store, stopped: Callable[[], bool], bounds: DownloadBounds = DownloadBounds()
) -> Version:
    """Downloads a model, verifies it and copies it into the store.

    Raises as `download_model` and `Store.install` do. It waits until another process has ended its download.
    """
    folder = store.folder / f".download-{sha256[:12].lower()}"
    try:
        store.make_folder()
        with locked(store.folder / ".download"):
            for left in store.folder.glob(".download-*"):
                if left != folder:  # a download of the same model is continued
                    shutil.rmtree(left, ignore_errors=True)
            model = download_model(url, sha256, folder, stopped, bounds)
            try:
                return store.install(model)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        hint = "use sudo" if isinstance(exc, PermissionError) else "make room"
        raise EdgeposeError(f"{store.folder}: cannot keep the model ({exc.strerror or exc}); {hint}") from None


def _fetch(url: str, path: Path, stopped: Callable[[], bool], bounds: DownloadBounds) -> None:
    deadline = time.monotonic() + bounds.total_s
    while True:
        try:
            return _attempt(url, path, stopped, bounds)
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code < _SERVER_ERROR and exc.code != _TOO_MANY:
                raise ModelError(f"{url}: the server answers {exc.code} {exc.reason}; correct the address") from None
            why = f"{exc.code} {exc.reason}"
        except urllib.error.URLError as exc:
            why = str(exc.reason)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as exc:
            why = str(exc) or type(exc).__name__
        if stopped() or time.monotonic() > deadline:
            raise ModelError(f"{url}: cannot be downloaded ({why}); what has come is kept, try again") from None
        time.sleep(bounds.pause_s)


def _attempt(url: str, path: Path, stopped: Callable[[], bool], bounds: DownloadBounds) -> None:
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "edgepose"})  # noqa: S310  check_url has allowed it
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = _OPENER.open(request, timeout=bounds.timeout_s)
    except urllib.error.HTTPError as exc:
        if exc.code != _RANGE_NOT_SATISFIABLE:
            raise
        exc.close()
        return  # an earlier attempt has brought all of it
    with answer, path.open("ab" if answer.status == _PARTIAL else "wb") as file:
        size = have if answer.status == _PARTIAL else 0
        left = int(answer.headers.get("Content-Length") or 0)
        most_mb = bounds.most_bytes / 1e6
        if size + left > bounds.most_bytes:
            raise ModelError(
                f"{url}: has {(size + left) / 1e6:.0f} MB, more than the {most_mb:.0f} MB that are allowed"
            )
        while block := answer.read(_BLOCK):
            size, left = size + len(block), left - len(block)
            if size > bounds.most_bytes:
                raise ModelError(f"{url}: has more than the {most_mb:.0f} MB that are allowed")
            if stopped():
                raise ModelError(f"{url}: the download was stopped; what has come is kept")
            file.write(block)
        if left > 0:
            raise ConnectionError("the line broke")

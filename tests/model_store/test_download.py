"""Downloads of models, from a real web server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from model_files import variant
from sites import Site

from edgepose.errors import ModelError
from edgepose.inference.model_file import read_model
from edgepose.model_store.download import DownloadBounds, check_url, download_model, install_from
from edgepose.model_store.store import Store

BOUNDS = DownloadBounds(pause_s=0.01)


def test_a_download_is_resumed_where_the_line_broke(site: str, demo_model: Path, tmp_path: Path) -> None:
    model = variant(demo_model, Site.folder, "second")
    Site.breaks[:] = [1000, 50_000]
    sha256 = read_model(model).sha256
    fetched = download_model(f"{site}/second.tflite", sha256, tmp_path / "got", lambda: False, BOUNDS)
    assert fetched.read_bytes() == model.read_bytes()
    assert Site.asked[1:] == ["/second.tflite bytes=1000-", "/second.tflite bytes=51000-"]
    Site.asked.clear()
    download_model(f"{site}/second.tflite", sha256, tmp_path / "got", lambda: False, BOUNDS)
    assert Site.asked[0].startswith("/second.tflite bytes=")  # nothing comes twice


def test_a_download_that_is_not_what_was_told_or_too_large_is_refused(
    site: str, demo_model: Path, tmp_path: Path
) -> None:
    model = variant(demo_model, Site.folder, "second")
    url, sha256 = f"{site}/second.tflite", read_model(model).sha256
    for wrong, text in (
        (f"{site}/third.tflite", "404 Not Found"),
        (f"{site}/elsewhere.tflite", "is not allowed"),
    ):
        with pytest.raises(ModelError, match=text):
            download_model(wrong, sha256, tmp_path / "got", lambda: False, BOUNDS)
    with pytest.raises(ModelError, match=f"has the sha256 {sha256}, not the one that was given"):
        download_model(url, "0" * 64, tmp_path / "got", lambda: False, BOUNDS)
    assert not (tmp_path / "got" / "model.tflite").exists()
    bounds = DownloadBounds(most_bytes=100_000)
    with pytest.raises(ModelError, match=r"second.tflite: has \d+ MB, more than the 0 MB that are allowed"):
        download_model(url, sha256, tmp_path / "got", lambda: False, bounds)


@pytest.mark.slow
def test_two_processes_that_download_do_not_disturb_each_other(site: str, demo_model: Path, tmp_path: Path) -> None:
    """The shell and the daemon have one store, and each removes what an earlier download has left."""
    models = {name: read_model(variant(demo_model, Site.folder, name)) for name in ("second", "third")}
    Site.breaks[:] = [1000]
    slow = DownloadBounds(pause_s=1.0)
    with ThreadPoolExecutor() as pool:
        stores = {name: Store(tmp_path / "state" / "models") for name in models}
        found = {}
        for name, model in models.items():
            url = f"{site}/{name}.tflite"
            found[name] = pool.submit(install_from, url, model.sha256, stores[name], lambda: False, slow)
            time.sleep(0.3)
        assert {name: one.result().id for name, one in found.items()} == {n: m.id for n, m in models.items()}
    assert Site.asked[:2] == ["/second.tflite", "/second.tflite bytes=1000-"]


@pytest.mark.parametrize(
    "url", ["", "model.tflite", "file:///etc/passwd.tflite", "ftp://h/m.tflite", "http:///m.tflite", "http://h/m"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ModelError, match="give an http:// or https:// address"):
        check_url(url)

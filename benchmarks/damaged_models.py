"""Activates a thousand damaged model files on a running daemon: each must be refused or harmless, and no pose may be
missing.

    python benchmarks/damaged_models.py [--files 1000]

Bits are flipped, ends are cut off, blocks are set to zero. The card of each file has the new hash, so that only the
interpreter can find the damage; every tenth file keeps its true card, and is refused by its hash. A file that passes
the golden picture is activated.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from brokers import wait_until
from model_files import variant
from soak import MODEL, Reader

from edgepose.errors import ModelError
from edgepose.model_store.store import Store
from edgepose.mqtt.demo_broker import demo_broker

CONFIG = """device: soak
model: {model}
inference: {{threads: 1}}
camera: {{source: synthetic, size_wh: [320, 240], rate_hz: 20}}
commands: [ping, health, model]
mqtt: {{host: 127.0.0.1, port: {port}}}
"""


def damaged(whole: bytes, chance: random.Random) -> tuple[str, bytes]:
    kind, data = chance.choice(("flipped", "flipped in the graph", "cut", "zeroed")), bytearray(whole)
    if kind == "cut":
        del data[chance.randrange(len(data)) :]
    elif kind == "zeroed":
        begin = chance.randrange(len(data))
        data[begin : begin + 64] = bytes(len(data[begin : begin + 64]))
    else:
        # The tables of the graph are at the beginning and the end of the file, the weights between.
        for _ in range(chance.choice((1, 3, 30))):
            place = chance.randrange(len(data))
            if kind == "flipped in the graph":
                place = chance.choice((chance.randrange(2000), len(data) - 1 - chance.randrange(60_000)))
            data[place] ^= 1 << chance.randrange(8)
    return kind, bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, demo_broker() as broker:
        folder = Path(name)
        config = folder / "edgepose.yaml"
        config.write_text(CONFIG.format(model=MODEL, port=broker.port), encoding="utf-8")
        reader = Reader(broker.port)
        env = {"XDG_STATE_HOME": str(folder / "state"), "XDG_RUNTIME_DIR": str(folder / "run"), "PATH": "/usr/bin:/bin"}
        words = [sys.executable, "-m", "edgepose", "run", "-c", str(config)]
        with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1]) as daemon:
            wait_until(lambda: len(reader.poses) > 10, "poses", 30)
            store = Store(folder / "state" / "edgepose" / "models")
            counts = feed(store, reader, folder / "damaged", args.files)
            wait_until(lambda: daemon.poll() is not None or len(reader.poses) > 0, "the daemon", 10)
            alive, gaps = daemon.poll() is None, reader.poses.missing()
            daemon.terminate()
            daemon.wait(30)
    print(f"{sum(counts.values())} files: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    print(f"daemon {'lived' if alive else 'DIED'}, {reader.starts} start, {len(reader.poses)} poses, {gaps} missing")
    return int(not alive or bool(gaps) or reader.starts != 1)


def feed(store: Store, reader: Reader, folder: Path, files: int) -> collections.Counter[str]:
    chance, whole = random.Random(0), MODEL.read_bytes()  # noqa: S311  no secret
    counts: collections.Counter[str] = collections.Counter()
    begin = time.monotonic()
    for number in range(files):
        kind, data = damaged(whole, chance)
        model = variant(MODEL, folder, f"m{number}", data=data)
        if number % 10 == 0:
            model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # not what the card says
        try:
            version = store.install(model)
        except ModelError as exc:
            crashed = "crashed the interpreter, " if "crashes" in str(exc) else ""
            counts[f"{crashed}refused"] += 1
        else:
            counts[f"harmless ({kind}), activated"] += 1
            activate(reader, version.id)
        for path in folder.iterdir():
            path.unlink()
        if number % 100 == 99:
            print(f"{number + 1} files, {time.monotonic() - begin:.0f} s, {len(reader.poses)} poses", flush=True)
    return counts


def activate(reader: Reader, name: str) -> None:
    reader.client.publish(
        "edgepose/soak/command/model", f'{{"action": "activate", "model": "{name}"}}', qos=1
    ).wait_for_publish(10)
    time.sleep(2.5)  # the daemon verifies it and tries it


if __name__ == "__main__":
    sys.exit(main())

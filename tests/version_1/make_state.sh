#!/bin/bash
# Makes state.tar.xz with the daemon of commit 38e3777 and a real mosquitto: make_state.sh CHECKOUT, a checkout of that
# commit with its virtual environment in .venv. For each format of messages it activates a second model, changes the
# settings, and kills the broker, so that poses wait. Then the daemon is stopped (json) or killed (msgpack).
set -eu
checkout=$(realpath "$1") here=$(realpath "$(dirname "$0")") work=$(mktemp -d) port=18931
old() { (cd "$checkout" && .venv/bin/python -m edgepose "$@"); }
mkdir "$work/second"
python3 - "$checkout/edgepose/demo/demo.tflite" "$work/second/second.tflite" <<'PY'
import hashlib, json, pathlib, sys
demo, second = map(pathlib.Path, sys.argv[1:])
data = demo.read_bytes() + b"second".ljust(16, b"\0")  # bytes behind the flatbuffer change nothing but the hash
card = json.loads(demo.with_suffix(".json").read_text())
card |= {"name": "second", "files": {"cpu": {"name": second.name, "sha256": hashlib.sha256(data).hexdigest()}}}
second.write_bytes(data)
second.with_suffix(".json").write_text(json.dumps(card))
PY
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' $port > "$work/mosquitto.conf"
for format in json msgpack; do
  folder=$work/$format
  mkdir "$folder"
  export XDG_STATE_HOME=$folder/state XDG_RUNTIME_DIR=$folder/run
  cat > "$folder/edgepose.yaml" <<YAML
device: cage-07
model: $checkout/edgepose/demo/demo.tflite
camera: {source: synthetic, size_wh: [320, 240], rate_hz: 10}
inference: {threads: 1}
commands: [set, model]
tags: {subject: m3}
mqtt: {host: 127.0.0.1, port: $port, format: $format}
YAML
  mosquitto -c "$work/mosquitto.conf" & broker=$!
  sleep 1
  "$checkout/.venv/bin/python" -m edgepose run -c "$folder/edgepose.yaml" 2> "$folder/log" & daemon=$!
  until grep -q connected "$folder/log"; do sleep 0.5; done
  sleep 8
  old model install "$work/second/second.tflite"
  old model activate second@2f60c0 -c "$folder/edgepose.yaml"
  mosquitto_pub -p $port -q 1 -t edgepose/cage-07/command/set -m '{"rate_hz": 5, "min_score": 0.2, "region": [0, 0, 320, 200]}'
  sleep 3
  kill -9 $broker
  sleep 6
  if [ $format = json ]; then kill $daemon; else kill -9 $daemon; fi
  wait $daemon || true
done
cd "$work"
tar --sort=name --owner=0 --group=0 -c json/state json/run msgpack/state/edgepose/spool msgpack/run | xz -9e > "$here/state.tar.xz"

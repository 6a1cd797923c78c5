# `make help` lists the targets. Each installs what it needs, once: its second run starts at once.
# Uses neither git nor absolute paths, so a ZIP of the sources and a folder with spaces in its name do as well.

# The device side alone, as on a Pi, and everything: two environments, so that the demo never waits for TensorFlow.
DEVICE := .venv-demo/bin/python
DESK := .venv/bin/python
MODEL := edgepose/demo/demo.tflite
WEIGHTS := imagenet
# As many processes as there are cores; the tests of one file stay together, because they share models and brokers.
PARALLEL := -n auto --dist loadfile

.PHONY: help demo test check bench bench-delivery bench-fleet demo-model chaos soak deb rig-camera rig-test golden-arm mosquitto rtsp-server qemu qemu-arm

help:
	@echo "make demo         the whole device side on a synthetic mouse; Ctrl-C ends (SECONDS=20: by itself)"
	@echo "make test         the tests"
	@echo "make check        format, lint, types and import rules"
	@echo "make bench        how fast a model runs here (MODEL=my-model.tflite: that one)"
	@echo "make bench-delivery  an outage of a day, a healthy hour, what a pose costs, what mosquitto's settings do (an hour)"
	@echo "make bench-fleet  1000 simulated devices into one broker and two collectors, for a minute"
	@echo "make chaos        100 faults over 100,000 poses: is anything lost? (a quarter of an hour; SEED=1 repeats one)"
	@echo "make rig-camera   the daemon on real picamera2 and libcamera, in a virtual machine (root; 20 minutes)"
	@echo "make soak         the daemon with all that may leak, for an hour"
	@echo "make deb          a Debian package for this architecture, with everything inside"
	@echo "make rig-test     a service on a machine like a Pi through kills, hangs, power cuts, bad models (root; an hour)"
	@echo "make golden-arm   does the demo's model compute the same bits on 64-bit Arm cores? (root; minutes)"
	@echo "make demo-model   train the demo's model anew, on rendered frames (minutes; WEIGHTS=FOLDER, as fit)"

demo: .venv-demo/ready
	@$(DEVICE) -m edgepose demo $(if $(SECONDS),--seconds $(SECONDS))

test: .venv/ready mosquitto rtsp-server
	@$(DESK) -m pytest $(PARALLEL)

check: .venv/ready
	@$(DESK) -m ruff check .
	@$(DESK) -m ruff format --check .
	@$(DESK) -m mypy
	@.venv/bin/lint-imports

bench: .venv-demo/ready
	@$(DEVICE) -m edgepose bench "$(MODEL)"

bench-delivery: .venv/ready mosquitto
	@PYTHONPATH=tests $(DESK) benchmarks/delivery.py publish
	@PYTHONPATH=tests $(DESK) benchmarks/delivery.py outage --max-mb 20 --poses 500000
	@PYTHONPATH=tests $(DESK) benchmarks/delivery.py healthy
	@PYTHONPATH=tests $(DESK) benchmarks/delivery.py broker
	@PYTHONPATH=tests $(DESK) benchmarks/delivery.py outage

bench-fleet: .venv/ready mosquitto
	@$(DESK) benchmarks/fleet.py

demo-model: .venv/ready
	@$(DESK) -m edgepose_train.demo_model -o edgepose/demo --weights "$(WEIGHTS)"

chaos: .venv/ready mosquitto
	@$(DESK) tests/chaos.py $(if $(SEED),--seed $(SEED))

soak: .venv/ready
	@$(DESK) benchmarks/soak.py

deb: .venv/ready
	@sh systemd/build-deb

rig-test: .venv/ready qemu
	@$(DESK) tests/rig/unattended.py

golden-arm: .venv/ready qemu-arm
	@$(DESK) tests/rig/golden_arm.py

rig-camera: .venv/ready qemu
	@$(DESK) tests/rig/camera.py

.venv-demo/ready: pyproject.toml .ci/venv
	@sh .ci/venv .venv-demo demo

.venv/ready: pyproject.toml .ci/venv
	@sh .ci/venv .venv dev,train,demo,tensorboard,collect

# Debian keeps the broker where only root's PATH leads. Without it the tests that need one are skipped.
mosquitto:
	@PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null || sh .ci/debian mosquitto mosquitto-clients openssl || true

qemu:
	@command -v qemu-system-x86_64 >/dev/null && PATH="$$PATH:/usr/sbin" command -v debootstrap >/dev/null || \
		sh .ci/debian qemu-system-x86 qemu-utils debootstrap e2fsprogs

qemu-arm: qemu
	@command -v qemu-system-aarch64 >/dev/null && command -v cpio >/dev/null || sh .ci/debian qemu-system-arm cpio

# Of GStreamer, run by the system's Python: tests of RTSP cameras are skipped without it.
rtsp-server:
	@/usr/bin/python3 tests/rtsp_server.py >/dev/null 2>&1 || sh .ci/debian python3-gi gir1.2-gst-rtsp-server-1.0 \
		gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly || true

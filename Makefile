# `make help` lists the targets. Each target installs what it needs at its first run; later runs start at once.
# It works from a ZIP of the sources too, and in a folder with spaces in its name: it uses neither git nor absolute paths.

# There are two environments: one with the device side alone, as on a Pi, so that the demo need not wait for TensorFlow,
# and one with everything.
DEVICE := .venv-demo/bin/python
DESK := .venv/bin/python
MODEL := edgepose/demo/demo.tflite
WEIGHTS := imagenet
# There are as many processes as cores. The tests of one file stay together, because they share models and brokers.
PARALLEL := -n auto --dist loadfile

.PHONY: help demo test check bench bench-delivery bench-fleet demo-model chaos soak deb rig-camera rig-test golden-arm mosquitto rtsp-server qemu qemu-arm

help:
	@echo "make demo            run the whole device side on a synthetic mouse until Ctrl-C (SECONDS=20 ends it by itself)"
	@echo "make test            run the tests"
	@echo "make check           check format, style, types and import rules"
	@echo "make bench           measure how fast a model runs here (MODEL=my-model.tflite chooses the model)"
	@echo "make bench-delivery  measure delivery: an outage of a day, a healthy hour, the cost of a pose, brokers (an hour)"
	@echo "make bench-fleet     send from 1000 simulated devices to one broker and two collectors (a minute)"
	@echo "make chaos           test whether 100 faults in 100,000 poses lose any pose (15 minutes; SEED=1 repeats a run)"
	@echo "make soak            run the daemon for an hour and watch for leaks"
	@echo "make rig-camera      test the daemon with the real picamera2 and libcamera in a virtual machine (root; 20 minutes)"
	@echo "make rig-test        test the service through kills, hangs, power cuts and bad models on a machine like a Pi (root; an hour)"
	@echo "make golden-arm      test whether the demo's model computes the same bits on 64-bit Arm processors (root; minutes)"
	@echo "make deb             build a Debian package for this architecture, with everything inside"
	@echo "make demo-model      train the demo's model anew on rendered frames (minutes; WEIGHTS=FOLDER as in fit)"

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

# Debian installs the broker into a folder that is on the PATH of root only. Tests that need a broker are skipped without it.
mosquitto:
	@PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null || sh .ci/debian mosquitto mosquitto-clients openssl || true

qemu:
	@command -v qemu-system-x86_64 >/dev/null && PATH="$$PATH:/usr/sbin" command -v debootstrap >/dev/null || \
		sh .ci/debian qemu-system-x86 qemu-utils debootstrap e2fsprogs

qemu-arm: qemu
	@command -v qemu-system-aarch64 >/dev/null && command -v cpio >/dev/null || sh .ci/debian qemu-system-arm cpio

# The RTSP server is part of GStreamer and runs in the system's Python. Tests of RTSP cameras are skipped without it.
rtsp-server:
	@/usr/bin/python3 tests/rtsp_server.py >/dev/null 2>&1 || sh .ci/debian python3-gi gir1.2-gst-rtsp-server-1.0 \
		gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly || true

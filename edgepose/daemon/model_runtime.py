"""Opens models for the daemon, and does what a switch of models needs of the running daemon."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.closed_loop.rules import Rules
from edgepose.config.schema import Config
from edgepose.delivery.delivery import MqttDelivery
from edgepose.errors import EdgeposeError
from edgepose.inference.accelerated import open_estimator
from edgepose.inference.estimator import PoseEstimator
from edgepose.inference.viewer import zoom_of
from edgepose.model_store.hot_swap import HotSwapModel
from edgepose.model_store.startup import model_that_runs
from edgepose.model_store.store import Store
from edgepose.recording.recorder import Recording
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir

log = logging.getLogger(__name__)

_FLUSH_S = 1.0  # for the events that say why the daemon ends


def running_model(config: Config) -> Path:
    """Returns the model file that `edgepose run` would begin with. It changes nothing, so any command may call it."""
    return model_that_runs(Store(state_dir() / "models"), config.device_name(), Path(config.model))


def open_suitable(model: Path, config: Config, reporter: Reporter) -> PoseEstimator:
    """Opens a model. Raises ModelError, and ConfigError where the model cannot do what the config asks for."""
    estimator = open_estimator(model, config.inference, reporter=reporter)
    try:
        zoom_of(config.view, estimator.card)
        Rules(config.rules, estimator.card.skeleton)
    except EdgeposeError:
        estimator.close()
        raise
    return estimator


class DaemonModelRuntime:
    """A `ModelRuntime` of the model switch.

    Attributes:
        anew: True when the daemon shall start itself anew after `stop`.
    """

    def __init__(  # noqa: PLR0913, PLR0917  every part that a new model concerns
        self,
        config: Config,
        model: HotSwapModel,
        camera: CameraSupervisor,
        delivery: MqttDelivery,
        recording: Recording,
        stop: threading.Event,
    ) -> None:
        self.anew = False
        self._config, self._model, self._stop = config, model, stop
        self._camera, self._delivery, self._recording = camera, delivery, recording

    def load(self, model: Path) -> PoseEstimator:
        return open_suitable(model, self._config, self._delivery.reporter)

    def swap(self, estimator: PoseEstimator) -> bool:
        """Returns False where the daemon has to start anew.

        That is so for another input, since the camera gives frames of its size; for other keypoints, since tables and
        messages have their names; and with an accelerator, which runs one model at a time.
        """
        card = self._model.card
        same = (estimator.card.skeleton, estimator.card.input) == (card.skeleton, card.input)
        if not same or self._model.estimator.delegate != "cpu":
            estimator.close()
            return False
        self._model.put(estimator)
        self._announce()
        return True

    def prove(self) -> None:
        self._model.prove()

    def go_back(self, *, hung: bool) -> None:
        if hung:
            log.error("the model on trial hangs, so the daemon ends; systemd starts it again")
            self._delivery.flush_events(_FLUSH_S)
            logging.shutdown()
            os._exit(1)  # nothing else ends a thread that hangs; what was accepted is in the spool
        if self._model.go_back():
            self._announce()
        else:  # There is no model before it: the daemon began with this one.
            self.restart()

    def poses(self) -> int:
        return self._model.poses

    def trouble(self) -> str:
        return self._model.trouble

    def stuck_s(self) -> float:
        return self._model.stuck_s()

    def captured(self) -> int:
        return self._camera.captured

    def restart(self) -> None:
        self.anew = True
        self._stop.set()

    def _announce(self) -> None:
        model = self._model.model_id
        self._recording.use_model(model)
        self._delivery.change_info(model=model)

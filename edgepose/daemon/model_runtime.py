"""What the switch of models may do to the running daemon."""

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


def running_model(config: Config) -> Path:
    """The model file that `edgepose run` would begin with. Nothing is changed, so that other commands may ask."""
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
    """A `ModelRuntime`. stop: ends the pipeline. anew: then the daemon starts itself again."""

    def __init__(  # noqa: PLR0913, PLR0917  everybody whom a new model concerns
        self,
        config: Config,
        at_work: HotSwapModel,
        camera: CameraSupervisor,
        delivery: MqttDelivery,
        recording: Recording,
        stop: threading.Event,
    ) -> None:
        self.anew = False
        self._config, self._at_work, self._stop = config, at_work, stop
        self._camera, self._delivery, self._recording = camera, delivery, recording

    def load(self, model: Path) -> PoseEstimator:
        return open_suitable(model, self._config, self._delivery.reporter)

    def swap(self, loaded: PoseEstimator) -> bool:
        """The camera gives frames of the model's size, and tables and messages have its keypoints' names: with others
        everything has to start anew. So it has where an accelerator is at work, which runs one model at a time."""
        card = self._at_work.card
        same = (loaded.card.skeleton, loaded.card.input) == (card.skeleton, card.input)
        if not same or self._at_work.estimator.delegate != "cpu":
            loaded.close()
            return False
        self._at_work.put(loaded)
        self._say()
        return True

    def prove(self) -> None:
        self._at_work.prove()

    def go_back(self, *, hung: bool) -> None:
        if hung:
            log.error("the model that was tried hangs; ending the daemon, to be started again")
            logging.shutdown()
            os._exit(1)  # nothing else ends a thread that hangs; what was accepted is in the spool
        if self._at_work.go_back():
            self._say()
        else:  # the daemon began with it
            self.restart()

    def poses(self) -> int:
        return self._at_work.poses

    def trouble(self) -> str:
        return self._at_work.trouble

    def stuck_s(self) -> float:
        return self._at_work.stuck_s()

    def captured(self) -> int:
        return self._camera.captured

    def restart(self) -> None:
        self.anew = True
        self._stop.set()

    def _say(self) -> None:
        model = self._at_work.card.model_id()
        self._recording.use_model(model)
        self._delivery.change_info(model=model)

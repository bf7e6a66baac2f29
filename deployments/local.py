"""A service on this machine: starts Ray and the application, waits until it can draw, and stops both.

Ray is imported when a service starts, with its environment in place.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

from deployments.config import APP_NAME, AppConfig
from deployments.errors import ServiceStartError
from deployments.host import stoppable
from model_core.cache import cache_folder
from model_core.errors import DalleServeError

START_TIMEOUT_S = 600.0
DRAIN_S = 30.0  # as long as Kubernetes waits by default
POLL_S = 0.5
MIN_CPUS = 2  # what the laptop's settings reserve; only a number to Ray, so that a machine with one core works too
OUR_ERRORS = ("model_core.errors.", "deployments.errors.")
FAILED = {"DEPLOY_FAILED", "UNHEALTHY"}


def set_environment() -> None:
    """Sets what Ray and JAX read from the environment, in this process and in those it starts; what is set stays.

    To be called before either is imported.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # who would talk to the cluster needs the token in ~/.ray
    os.environ.setdefault("RAY_worker_niceness", "0")  # not 15, with which any other program starves the service
    os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "2")  # a dead proxy is missed after three of them
    # Serve kills a proxy that is not there after 5 s and starts another, which on a busy machine comes no sooner.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    # So that what Serve's proxy answers by itself comes in the envelope of all other errors.
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "deployments.api.proxy:middlewares")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


class LocalService:
    """A service in processes of its own, to be used in a `with` block; at its end no process is left.

    Args:
      config: what to serve.
      host: address to listen on.
      port: port to listen on.
      json_logs: whether each line of Serve's logs is a JSON object.
      report: called with a line for every step of the start.

    Attributes:
      logs: folder of Ray's logs; `serve` in it has one of each replica.
    """

    def __init__(
        self,
        config: AppConfig,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        json_logs: bool = False,
        report: Callable[[str], object] = lambda line: None,
    ):
        self._config = config
        self._host = host
        self._port = port
        self._logging = {"encoding": "JSON"} if json_logs else None
        self._report = report
        self._started_at = 0.0
        self._is_ready = False
        self.logs = Path("/tmp/ray/session_latest/logs")
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.url = f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts everything, and returns once images can be drawn.

        Raises:
          ServiceStartError: a stage did not come up; says why, and where the logs are.
        """
        set_environment()
        self._started_at = time.monotonic()
        self._report("starting Ray")
        try:
            self._start_ray()
            self._deploy()
        except DalleServeError:
            raise
        except Exception as error:  # Ray raises bare ones here, for example where its processes were too slow
            cause = _cause([type(error).__name__, str(error)])
            raise ServiceStartError(f"Ray did not start: {cause} The logs are in {self.logs}.") from error
        self._wait_for_http()
        self._is_ready = True

    def stop(self) -> None:
        """Stops everything, when what was accepted is drawn; harmless where nothing was started."""
        if "ray" not in sys.modules:
            return
        import ray
        from ray import serve

        if ray.is_initialized():
            if self._is_ready:
                self._drain()
            with contextlib.redirect_stdout(StringIO()):  # Ray prints that it kills its own controller
                serve.shutdown()
                ray.shutdown()

    def _drain(self) -> None:
        """Lets the gateway finish; Ctrl-C puts an end to that."""
        from ray import serve

        self._report(f"finishing what was accepted, for {DRAIN_S:g} s at most")
        with stoppable(), contextlib.suppress(KeyboardInterrupt, Exception):  # a gateway that is gone has nothing to do
            serve.get_deployment_handle("gateway", APP_NAME).drain.remote().result(timeout_s=DRAIN_S)

    def _start_ray(self) -> None:
        import ray

        importing = Thread(target=_import_app, name="import-app")  # seconds, while Ray's processes come up
        importing.start()
        on_sigterm = signal.getsignal(signal.SIGTERM)
        context: Any = ray.init(
            address="local",
            num_cpus=max(MIN_CPUS, os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        # Ray's own handler ends its processes at once and exits, which leaves nothing for `stop` to stop in order.
        signal.signal(signal.SIGTERM, on_sigterm)
        importing.join()
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        self.logs = Path(context.address_info["session_dir"]) / "logs"
        self._report("starting Ray Serve")
        # The gateway has a deadline of its own; this one is there in case it hangs.
        backstop_s = self._config.gateway.request_timeout_s + 30
        http_options = {"host": self._host, "port": self._port, "request_timeout_s": backstop_s}
        serve.start(http_options=http_options, logging_config=self._logging)

    def _deploy(self) -> None:
        from ray import serve

        from deployments.app import build_app

        stages = [model.deployment_name(stage) for model in self._config.models for stage in model.stages]
        waiting = {"gateway", *stages}
        self._report(f"starting {', '.join(sorted(waiting))}")
        app = build_app(self._config)
        target = serve.RunTarget(target=app, name=APP_NAME, route_prefix="/", logging_config=self._logging)
        serve.run_many([target], wait_for_applications_running=False)
        while waiting:
            time.sleep(POLL_S)
            application = serve.status().applications[APP_NAME]
            for name in sorted(waiting):
                if "RUNNING" in application.deployments[name].replica_states:
                    self._report(f"{name} is ready")
                    waiting.remove(name)
            if application.status in FAILED:
                cause = _cause([application.message, *(stage.message for stage in application.deployments.values())])
                raise ServiceStartError(f"{cause} The logs are in {self.logs}/serve.")
            self._check_time(f"waiting for {', '.join(sorted(waiting))}")

    def _wait_for_http(self) -> None:
        import httpx

        url = f"{self.url}/ready"
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(url, timeout=10, trust_env=False).status_code == 200:
                    return
            self._check_time(f"{url} does not answer 200")
            time.sleep(POLL_S)

    def _check_time(self, state: str) -> None:
        if time.monotonic() - self._started_at > START_TIMEOUT_S:
            raise ServiceStartError(f"Not ready after {START_TIMEOUT_S:g} s: {state}. The logs are in {self.logs}.")


def _import_app() -> None:
    """Imports what `_deploy` will need; what goes wrong is raised there."""
    with contextlib.suppress(ImportError):
        import deployments.app  # noqa: F401  an import for its time alone


def _cause(messages: list[str]) -> str:
    """The line that says what went wrong, out of messages that may hold whole tracebacks."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith(OUR_ERRORS)]
    return (ours[-1:] or lines[-1:] or ["A stage did not start."])[0]

"""A service on this machine: starts Ray and the application, waits until it can draw, and stops both.

Ray is imported when a service starts, with its environment in place.
"""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Self

from deployments import ray_cluster
from deployments.config import APP_NAME, AppConfig
from deployments.errors import ServiceStartError
from deployments.host import http_client, url_of
from deployments.needs import cache_problem, session_problem, shared_memory_problem
from deployments.stopping import finishing
from model_core.cache import cache_folder

START_TIMEOUT_S = 600.0
DRAIN_S = 30.0  # as long as Kubernetes waits by default
POLL_S = 0.5
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
      host, port: to listen on.
      json_logs: whether each line of Serve's logs is a JSON object.
      report: called with a line for every step of the start and of the end.

    Attributes:
      url: where it answers.
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
        self._processes = contextlib.ExitStack()  # entered while there are any
        self.url = url_of(host, port)

    @property
    def logs(self) -> Path | None:
        return ray_cluster.session_logs()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts everything, and returns once images can be drawn.

        Raises:
          ServiceStartError: a stage did not come up; says why, and where the logs are.
        """
        set_environment()
        self._check_needs()
        self._started_at = time.monotonic()
        self._report("starting Ray")
        importing = Thread(target=_import_app, name="import-app")  # seconds, while Ray's processes come up
        importing.start()
        self._processes.enter_context(ray_cluster.ending_with_this_process())
        ray_cluster.started_in_time(self._start_ray_and_deploy, ray_cluster.stop_ray, self._report)
        importing.join()
        self._wait_for_http()
        self._is_ready = True

    def stop(self) -> None:
        """Stops everything, when what was accepted is drawn; harmless where nothing was started."""
        if "ray" not in sys.modules:
            return
        import ray
        from ray import serve

        with self._processes:
            if ray.is_initialized():
                if self._is_ready:
                    self._drain()
                with contextlib.redirect_stdout(StringIO()):  # Ray prints that it kills its own controller
                    serve.shutdown()
            ray_cluster.stop_ray()

    def _drain(self) -> None:
        """Lets the gateway finish; who insists to stop puts an end to that."""
        from ray import serve

        self._report(f"finishing what was accepted, for {DRAIN_S:g} s at most")
        with contextlib.suppress(KeyboardInterrupt, Exception), finishing(self._report):
            # An exception: a gateway that is gone has nothing to do.
            serve.get_deployment_handle("gateway", APP_NAME).drain.remote().result(timeout_s=DRAIN_S)

    def _check_needs(self) -> None:
        """Tells of what will not work, before minutes have passed."""
        if problem := session_problem():
            raise ServiceStartError(problem)
        ray_cluster.prepare_token(self._report)
        for problem in (cache_problem(), shared_memory_problem()):
            if problem:
                self._report(problem)

    def _start_ray_and_deploy(self) -> None:
        ray_cluster.start_ray()
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        self._report("starting Ray Serve")
        # The gateway has a deadline of its own; this one is there in case it hangs.
        backstop_s = self._config.gateway.request_timeout_s + 30
        http_options = {"host": self._host, "port": self._port, "request_timeout_s": backstop_s}
        serve.start(http_options=http_options, logging_config=self._logging)
        self._deploy()

    def _deploy(self) -> None:
        from ray import serve

        from deployments.app import build_app

        waiting = {"gateway"}
        for model in self._config.models:
            stages = model.stages.items()
            waiting |= {model.deployment_name(name) for name, stage in stages if stage.min_replicas > 0}
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
                raise ServiceStartError(f"{cause} {ray_cluster.said_of_logs()}")
            self._check_time(f"waiting for {', '.join(sorted(waiting))}")

    def _wait_for_http(self) -> None:
        import httpx

        with http_client(self.url, timeout=10) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/ready").status_code == 200:
                        return
                self._check_time(f"{self.url}/ready does not answer 200")
                time.sleep(POLL_S)

    def _check_time(self, state: str) -> None:
        if time.monotonic() - self._started_at > START_TIMEOUT_S:
            said = (f"Not ready after {START_TIMEOUT_S:g} s: {state}.", ray_cluster.said_of_load(advise=True))
            raise ServiceStartError(" ".join(filter(None, (*said, ray_cluster.said_of_logs()))))


def _import_app() -> None:
    """Imports what `_deploy` will need; what goes wrong is raised there."""
    with contextlib.suppress(ImportError):
        import deployments.app  # noqa: F401  an import for its time alone


def _cause(messages: list[str]) -> str:
    """The line that says what went wrong, out of messages that may hold whole tracebacks."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith(OUR_ERRORS)]
    return (ours[-1:] or lines[-1:] or ["A stage did not start."])[0]

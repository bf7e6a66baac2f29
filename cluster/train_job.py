"""Trains on a Ray cluster: one process for each GPU or TPU host, started and joined by Ray Train.

    ray job submit --working-dir . -- python cluster/train_job.py --workers 4 sampler --data /nfs/data --run /nfs/run

What follows the options goes to `dalle-serve train`, in every worker; the run's folder must be one that all of them
see. A worker that dies, or whose node is taken away, ends the attempt; the next one resumes from the last state saved,
at most `save_every_s` before. Means go to Ray Train's results at every look. Needs `dalle-serve[train,ray-train]` on
every node.
"""

import argparse
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.jax import JaxTrainer

from model_core.allocator import environment


def train(settings: dict[str, Any]) -> None:
    """One worker's share; Ray Train has made the workers' JAX one."""
    from model_core.training import curves
    from model_core.training.cli import app

    curves.LISTENERS[:] = [report]
    app(settings["arguments"], standalone_mode=False)


def report(folder: Path, step: int, means: dict[str, float]) -> None:
    """Tells Ray Train what was measured; every worker does, with the same step. The state is in the run's folder."""
    ray.train.report({"part": folder.name, "step": step, **means})


def scaling(options: argparse.Namespace) -> ScalingConfig:
    """How many workers, and what each is given."""
    if options.topology:
        return ScalingConfig(
            use_tpu=True,
            num_workers=options.workers,
            topology=options.topology,
            accelerator_type=options.accelerator_type,
        )
    return ScalingConfig(use_gpu=True, num_workers=options.workers, accelerator_type=options.accelerator_type)


def main() -> None:
    """Reads the command line and trains until the end."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, required=True, help="GPUs, or hosts of the TPU slice")
    parser.add_argument("--topology", help='of the TPU slice, such as "4x4"; without it, GPUs are used')
    parser.add_argument("--accelerator-type", help='as Ray names it, such as "H100" or "TPU-V6E"')
    parser.add_argument("--retries", type=int, default=3, help="attempts after the first")
    parser.add_argument("--name", help="of the attempt in Ray's storage, to tell runs apart")
    parser.add_argument("--storage", help="Ray's own notes on the run; a folder that all nodes see")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of `dalle-serve train`")
    options = parser.parse_args()
    result = JaxTrainer(
        train,
        train_loop_config={"arguments": options.arguments},
        scaling_config=scaling(options),
        run_config=RunConfig(
            name=options.name,
            storage_path=options.storage,
            failure_config=FailureConfig(max_failures=options.retries),
            worker_runtime_env={"env_vars": environment()},
        ),
    ).fit()
    print(f"last measured: {result.metrics}")


if __name__ == "__main__":
    main()

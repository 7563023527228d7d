"""A real Ray cluster of several nodes on this machine, in processes of its own. Knows nothing of engines.

Run as a program it holds the cluster and obeys its standard input: ``kill``, ``add``; it ends with that input.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from typing import IO

from tests.running_daemon import PATIENCE_SECONDS, ROOT


class RunningCluster:
    """A head that offers nothing and nodes of one processor each; ``with`` ends it."""

    def __init__(self, num_nodes: int, **env: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="ray")  # Short: sockets lie in it.
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("SA3_", "RAY_"))}
        ours = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_cluster", self._folder, str(num_nodes)],
            cwd=ROOT,
            env={**kept, **ours, "SA3_DATA_DIR": f"{self._folder}/data", **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._answer()

    def kill_node(self) -> None:
        """End the oldest node and everything on it by SIGKILL."""
        self._tell("kill")

    def add_node(self) -> None:
        self._tell("add")

    def __enter__(self) -> RunningCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, order: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line, f"the cluster ended with code {self._process.wait()}"
        return line


def main(folder: str, num_nodes: int, orders: IO[str]) -> None:
    from ray.cluster_utils import Cluster

    # Ray's own patience with a machine that is silent would make each test of a death 15 s long.
    watch = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, "_system_config": watch}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(num_nodes)]
    print(cluster.address, flush=True)
    for order in orders:
        if order.strip() == "kill":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        else:
            nodes.append(cluster.add_node(num_cpus=1))
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.stdin)

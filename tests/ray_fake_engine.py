"""The daemon's engine process whose actor in the cluster is the fake engine. Knows no model."""

from __future__ import annotations

import sys

from sa3_daw.config import DaemonConfig
from sa3_daw.engine.main import Engine
from sa3_daw.engine.ray_main import serve_cluster
from tests.fake_engine import FakeEngine


def fake(config: DaemonConfig) -> Engine:
    return FakeEngine()


if __name__ == "__main__":
    sys.exit(serve_cluster(fake))

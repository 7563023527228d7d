"""`--ray`: the user's daemon, or a Ray cluster, as the one that makes a renderer's jobs. Knows no job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from sa3_daw.client import Client
from sa3_daw.render.maker import Maker

DAEMON_IN_FLIGHT = 4


@contextmanager
def open_maker(ray: str) -> Iterator[tuple[Maker, int]]:
    """Yield who makes the jobs, and how many it is best given at once. ``ray`` is an address, "" for the daemon."""
    if not ray:
        with Client.connect() as client:
            yield client, DAEMON_IN_FLIGHT
        return
    # Here and not above: only who asks for a cluster needs what it takes.
    from sa3_daw.render.ray_maker import JOBS_PER_ENGINE, RayMaker

    with closing(RayMaker(ray)) as maker:
        yield maker, JOBS_PER_ENGINE * maker.num_engines

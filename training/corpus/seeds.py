"""Which corpus seeds are for what: none is used twice. Knows no recipe and no measure.

| seeds | for |
|---|---|
| 0 to 19,999, 20,000 to 39,999 | nano's short clips (the first of which fit its codec), and its long ones |
| 40,000 to 40,399 | teaching the judge of instrument families |
| 100,000 to 100,063 | choosing: the DiT's checkpoint, and whether the learned decoder is kept |
| 110,000 to 110,199 | the judge's own ceiling |
| 120,000 to 120,149 | the report: what is reconstructed, compared with, and measured beside generated clips |
| 500,000 and above | nano's clips of mostly one part |

Clips that a model generates have seeds of their own: below 1,000 to choose among finished candidates, from there on in
the report.
"""

from __future__ import annotations

JUDGE_TEACHING = range(40_000, 40_400)
CHOOSING = range(100_000, 100_064)
JUDGE_UNSEEN = range(110_000, 110_200)
REPORT = range(120_000, 120_150)
FIRST_REPORTED = 1000


def reported(num_seeds: int) -> range:
    """Return the seeds of the clips that are generated for a report."""
    return range(FIRST_REPORTED, FIRST_REPORTED + num_seeds)

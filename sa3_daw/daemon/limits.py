"""Every limit a client is held to, in one place; hello announces those it can plan with. Knows no message's reader."""

from __future__ import annotations

from sa3_daw.blobs import BYTES_PER_FRAME
from sa3_daw.config import DaemonConfig
from sa3_daw.music.timeline import MAX_POINTS
from sa3_daw.protocol.messages import Limits

SAMPLE_RATES = (22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
MAX_PROMPT_BYTES = 4096
MAX_STEPS = 200
MAX_GUIDANCE_SCALE = 30.0
MAX_SEED = 2**63
MAX_START_SAMPLE = 2**53
MAX_CLIP_SECONDS = 3600
MAX_HEADROOM_SECONDS = 60.0
MAX_ROLLS = 64
MAX_REGIONS = 64
MAX_ADAPTERS = 16
MAX_STRENGTH = 10.0
MAX_FILTER_BYTES = 200
LOUDNESS_LUFS = (-70.0, 0.0)

MAX_BODY_BYTES = 1 << 20
MAX_FRAME_BYTES = 8 << 20
"""Larger frames end the connection inside ZeroMQ; up to here the sender gets an answer that says what is wrong."""
MAX_BUFFER_BYTES = 1 << 20
MAX_PIECE_SAMPLES = MAX_BUFFER_BYTES // BYTES_PER_FRAME
MAX_CREDIT = 64
"""Chunks of one job on their way to a client: about a minute of audio, 23 MB at 48 kHz."""
MESSAGES_PER_SECOND = 2000.0
MESSAGES_AT_ONCE = 10_000.0

MAX_AUDIO_SAMPLES = MAX_CLIP_SECONDS * max(SAMPLE_RATES)
MAX_KEPT_BYTES = 512 << 20
"""Audio that the disk does not take, in memory for those who wait for it: 22 minutes at 48 kHz, over all jobs."""
MAX_UPLOADS = 16
"""Under way at one time, over all clients."""
MAX_LISTED_TAKES = 500
MAX_SEARCH_BYTES = 4096
MAX_TAGS = 32
MAX_TAG_BYTES = 64
MAX_BUDGET_MB = 1 << 30
MAX_ORDERS = 64
"""Models to load and unload that wait."""
MAX_KEEP_ALIVE_SECONDS = 86400.0


def limits(config: DaemonConfig) -> Limits:
    """Return the limits that hello announces."""
    return Limits(
        sample_rates=SAMPLE_RATES,
        max_prompt_bytes=MAX_PROMPT_BYTES,
        max_steps=MAX_STEPS,
        max_guidance_scale=MAX_GUIDANCE_SCALE,
        max_tempo_points=MAX_POINTS,
        max_queued_jobs=config.max_queued_jobs,
        max_credit=MAX_CREDIT,
        max_body_bytes=MAX_BODY_BYTES,
        max_clip_seconds=MAX_CLIP_SECONDS,
        max_rolls=MAX_ROLLS,
        max_regions=MAX_REGIONS,
        max_adapters=MAX_ADAPTERS,
        max_buffer_bytes=MAX_BUFFER_BYTES,
        max_listed_takes=MAX_LISTED_TAKES,
        max_tags=MAX_TAGS,
        max_tag_bytes=MAX_TAG_BYTES,
    )

"""Samples <-> latent frames: which frames cover a clip, and where the clip lies in them. Pure arithmetic.

Knows no tensor and no host sample rate; everything here counts at the model's rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from sa3_daw.models.specs import ModelSpec


@dataclass(frozen=True)
class LatentGrid:
    """``num_frames`` latent frames; the clip is ``num_samples`` long and starts ``lead_samples`` into them.

    Nano's lapped decoder needs a neighbour on both sides of every frame, so its grids carry one spare
    frame (rounded up to the alignment) before the clip and one after; published models carry only the
    headroom after the end that they were trained with.
    """

    num_frames: int
    lead_samples: int
    num_samples: int
    samples_per_frame: int

    @classmethod
    def covering(
        cls, num_samples: int, spec: ModelSpec, headroom_seconds: float | None = None, boundary_sample: int = 0
    ) -> LatentGrid:
        """Return the smallest aligned grid for a clip, headroom included as far as the model's maximum allows.

        ``headroom_seconds`` None is the model's own. A frame starts on ``boundary_sample`` of the clip, so
        that what is kept before it and what is made after it share no frame.
        """
        frame, align = spec.samples_per_frame, spec.same.frame_alignment
        spare = align if spec.same.decoder.lapped else 0
        shift = -boundary_sample % frame
        headroom = int((spec.headroom_seconds if headroom_seconds is None else headroom_seconds) * spec.sample_rate)
        wanted = min(num_samples + headroom, max(num_samples, spec.max_num_samples))
        body = -(-(shift + wanted) // (frame * align)) * align
        return cls(2 * spare + body, spare * frame + shift, num_samples, frame)

    def frames_of(self, start_sample: int, end_sample: int) -> tuple[int, int]:
        """Return the half-open range of frames that a range of the clip touches, were it one sample long."""
        frame = self.samples_per_frame
        return (self.lead_samples + start_sample) // frame, -(-(self.lead_samples + end_sample) // frame)

    def sample_of(self, frame: int) -> int:
        """Return the clip's sample on which a frame starts; negative in the lead."""
        return frame * self.samples_per_frame - self.lead_samples

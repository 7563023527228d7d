"""Every stage, at a size that takes seconds: its losses fall, its masks and noise are as specified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sa3_daw.models.same import Same
from sa3_daw.models.specs import DiTSpec, ModelSpec, SameSpec
from sa3_training.data.audio import AudioBatch
from sa3_training.flow.coupling import assignment, couple, squared_distances
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.loss import FlowRecipe, draw_noise, flow_loss
from sa3_training.flow.masks import extend_into_silence, keep_masks, masked_mean, valid_mask
from sa3_training.flow.timesteps import draw_levels, raise_some, shift_for_length, truncated
from sa3_training.loop import Draw, LoopRecipe, Numbers, Stage, train
from sa3_training.progress import Reporter, read_log
from sa3_training.recipes import NanoSize, nano_config
from sa3_training.stages.align import AlignRecipe, Embedders, align_stage
from sa3_training.stages.dit import DitRecipe, dit_stage
from sa3_training.stages.post import Discriminator, PostRecipe, post_stage
from sa3_training.stages.same import SameRecipe, same_stage
from sa3_training.stages.same_pair import PairRecipe, pair_stage
from sa3_training.stages.warmup import WarmUpRecipe, draw_starts, teach, warm_up_stage
from sa3_training.world import World
from tests.tiny import stage as tiny_stage

LATENT_DIM, FRAMES, TEXT_DIM, TOKENS, GRID = 4, 24, 16, 6, 2
DIT = DiTSpec(
    latent_dim=LATENT_DIM, width=64, depth=2, num_heads=1, cond_dim=TEXT_DIM, global_dim=TEXT_DIM,
    local_dim=1 + LATENT_DIM + GRID, timestep_dim=32, ff_mult=2.0, num_memory_tokens=2, differential=False,
)  # fmt: skip
SIZE = NanoSize(dit_width=64, dit_depth=1, decoder_depth=0)
CONDITIONING = replace(
    ModelSpec.from_config(nano_config(SIZE), "nano").conditioning,
    cond_dim=TEXT_DIM, max_tokens=TOKENS, beat_grid_dim=GRID,
)  # fmt: skip
RATE = 2000
CODEC = SameSpec(16, 2, 8, tiny_stage(mapping_kernel=1, depth=2), tiny_stage(depth=2))


def denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser.new(DIT, CONDITIONING)


def waves(draw: Draw) -> Batch:
    """A batch of two kinds of clips: slow sines for text 0, fast ones for text 1."""
    generator = draw.generator()
    size = 8
    kind = torch.randint(2, (size,), generator=generator)
    phase = 6.28 * torch.rand(size, LATENT_DIM, 1, generator=generator)
    turn = torch.arange(FRAMES) * (0.3 + 0.9 * kind)[:, None, None]
    text = torch.randn(2, TOKENS, TEXT_DIM, generator=torch.Generator().manual_seed(0))
    return Batch(
        1.4 * torch.sin(turn + phase), torch.zeros(size, GRID, FRAMES), text[kind],
        torch.ones(size, TOKENS, dtype=torch.bool), torch.ones(size), torch.full((size,), FRAMES),
        torch.full((size,), FRAMES),
    )  # fmt: skip


def tones(draw: Draw) -> AudioBatch:
    """Stereo tones of random pitch, panned."""
    generator = draw.generator()
    pitch = 80 + 300 * torch.rand(4, 1, 1, generator=generator)
    pan = torch.rand(4, 1, 1, generator=generator)
    audio = 0.5 * torch.sin(6.2832 * pitch * torch.arange(2048) / RATE)
    return AudioBatch(torch.cat((audio * pan, audio * (1 - pan)), dim=1), ("low", "high", "low", "high"))


def text_states(captions: tuple[str, ...]) -> Tensor:
    return torch.stack([torch.full((TOKENS, TEXT_DIM), float(len(caption))) for caption in captions])


def losses(stage: Stage, out: Path, num_steps: int, keys: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Train and return each loss in the first and in the last quarter."""
    with Reporter(out, "stage") as report:
        train(stage, LoopRecipe(num_steps, log_every_steps=1), out, "stage", World(), report)
    log = read_log(out / "stage.log")
    quarter = len(log) // 4
    mean = {
        key: [
            sum(e[key] for e in part if key in e) / sum(key in e for e in part)
            for part in (log[:quarter], log[-quarter:])
        ]
        for key in keys
    }
    return {key: (first, last) for key, (first, last) in mean.items()}


def assert_fall(found: dict[str, tuple[float, float]], least: float = 0.02) -> None:
    for key, (first, last) in found.items():
        assert last < (1 - least) * first, f"{key}: {first:.4f} -> {last:.4f}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Train a tiny base model once, by flow matching; its loss must fall."""
    model = denoiser()
    stage = dit_stage(model, waves, 10.0, DitRecipe(), LoopRecipe(150), World())
    assert_fall(losses(stage, tmp_path_factory.mktemp("base"), 150, ("loss", "made")), least=0.25)
    return model.state_dict()


def copy_of(state: dict[str, Tensor]) -> Denoiser:
    model = denoiser()
    model.load_state_dict(state)
    return model


def test_flow_matching_learns(base: dict[str, Tensor]) -> None:
    assert base


def test_distillation_warm_up_learns(base: dict[str, Tensor], tmp_path: Path) -> None:
    stage = warm_up_stage(
        copy_of(base), copy_of(base), waves, WarmUpRecipe(learning_rate=2e-3), LoopRecipe(25), World()
    )
    assert_fall(losses(stage, tmp_path, 25, ("loss",)), least=0.05)


def test_the_teacher_solves_from_noise_to_data() -> None:
    class Known(torch.nn.Module):
        """A model whose data is always zero: v = x / t."""

        spec = DIT

        def prepare(self, conditioning: object) -> None:
            return None

        def forward(self, x: Tensor, t: Tensor, prepared: object) -> Tensor:
            return x / t[:, None, None]

    teacher = denoiser()
    teacher.dit = Known()
    batch = waves(Draw(0, 0, 0))
    made = teach(teacher, batch, torch.zeros(8, FRAMES), torch.randn(8, LATENT_DIM, FRAMES), WarmUpRecipe())
    assert float(made.abs().max()) < 1e-4


def test_half_of_the_students_start_from_noise() -> None:
    t = draw_starts(WarmUpRecipe(), 4000, FRAMES, torch.Generator().manual_seed(0))
    assert 0.5 < float((t == 1).float().mean()) < 0.62
    assert len(t.unique()) == 8


def test_the_discriminator_learns_both_quality_and_obedience(base: dict[str, Tensor], tmp_path: Path) -> None:
    recipe = PostRecipe(generator_rate=1e-7, discriminator_rate=2e-3)
    stage = post_stage(copy_of(base), Discriminator(copy_of(base), 2), waves, recipe, LoopRecipe(50), World())
    assert_fall(losses(stage, tmp_path, 50, ("discriminator", "contrastive")), least=0.1)


def test_padding_is_not_judged() -> None:
    class Still(torch.nn.Linear):
        def forward(self, x: Tensor, *_: object) -> Tensor:
            return 0 * self.weight * x

    class Levels(torch.nn.Linear):
        def forward(self, x: Tensor, *_: object) -> Tensor:
            return self.weight * x.mean(1)

    batch = waves(Draw(0, 0, 0))
    ended = replace(batch, valid_B=torch.full((8,), 10))
    padded = torch.where(torch.arange(FRAMES) < 10, batch.latents_BDT, torch.full_like(batch.latents_BDT, 99.0))

    def judged(batch: Batch) -> Numbers:
        torch.manual_seed(0)
        stage = post_stage(Still(1, 1), Levels(1, 1), lambda draw: batch, PostRecipe(), LoopRecipe(1), World())
        return stage.advance(0, 1.0)

    assert judged(ended) == pytest.approx(judged(replace(ended, latents_BDT=padded)))
    assert judged(batch) != pytest.approx(judged(replace(batch, latents_BDT=padded)))


def test_the_generator_learns_to_please_a_discriminator(base: dict[str, Tensor], tmp_path: Path) -> None:
    judge = Discriminator(copy_of(base), 2)
    learned = PostRecipe(generator_rate=1e-7, discriminator_rate=2e-3)
    student = copy_of(base)
    train(post_stage(student, judge, waves, learned, LoopRecipe(25), World()), LoopRecipe(25), tmp_path, "a", World())
    stage = post_stage(
        student, judge, waves, PostRecipe(generator_rate=1e-3, discriminator_rate=1e-7), LoopRecipe(25), World()
    )
    assert_fall(losses(stage, tmp_path, 25, ("generator",)), least=0.1)


def test_the_generator_learns_to_say_what_its_text_says(base: dict[str, Tensor], tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = AlignRecipe(width=16, space=8, learning_rate=5e-3)
    pair = Embedders(LATENT_DIM, TEXT_DIM, recipe)
    loop = LoopRecipe(60)
    assert_fall(losses(align_stage(pair, waves, recipe, loop, World()), tmp_path / "pair", 60, ("loss",)), least=0.15)
    alignment = pair.frozen(weight=5.0)
    batch = waves(Draw(0, 0, 0))
    own = float(alignment.loss(batch.latents_BDT, batch.states_BLD, batch.mask_BL))
    fast = batch.states_BLD[:, 0, 0] == batch.states_BLD[0, 0, 0]
    swapped = torch.where(fast[:, None, None], batch.states_BLD[~fast][0], batch.states_BLD[fast][0])
    assert own < 0.5 < 1.2 < float(alignment.loss(batch.latents_BDT, swapped, batch.mask_BL))
    before = {key: tensor.clone() for key, tensor in pair.state_dict().items()}
    post = PostRecipe(generator_rate=1e-3, discriminator_rate=1e-7)
    stage = post_stage(copy_of(base), Discriminator(copy_of(base), 2), waves, post, LoopRecipe(25), World(), alignment)
    assert_fall(losses(stage, tmp_path / "post", 25, ("alignment",)), least=0.2)
    assert all(torch.equal(before[key], tensor) for key, tensor in pair.state_dict().items())


def test_autoencoder_training_brings_every_loss_down(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = SameRecipe(
        warm_up_steps=15, learning_rate=3e-3, discriminator_rate=2e-3, discriminator_width=4, probe_width=32,
        probe_depth=1, normal=0.05, regressor=1.0, critic=0.2, probe=0.5,
    )  # fmt: skip
    stage = same_stage(Same(CODEC), tones, text_states, TEXT_DIM, RATE, recipe, LoopRecipe(45), World())
    found = losses(stage, tmp_path, 45, ("loss", "spectral", "waveform", "normal", "probe", "regressor", "critic"))
    assert_fall({key: found[key] for key in ("spectral", "normal", "probe", "critic")})
    log = read_log(tmp_path / "stage.log")
    assert "adversarial" not in log[0] and {"adversarial", "feature", "discriminator"} <= log[-1].keys()


def test_a_small_autoencoder_learns_the_latents_of_a_large_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    large, small = Same(CODEC), Same(CODEC)
    before = {key: tensor.clone() for key, tensor in large.state_dict().items()}
    stage = pair_stage(small, large, tones, RATE, PairRecipe(learning_rate=3e-3), LoopRecipe(28), World())
    found = losses(stage, tmp_path, 28, ("loss", "latents", "small_to_small", "large_to_small"))
    assert_fall(found)
    assert all(torch.equal(before[key], tensor) for key, tensor in large.state_dict().items())


def test_an_untrained_denoiser_predicts_no_velocity() -> None:
    batch = waves(Draw(0, 0, 0))
    recipe = FlowRecipe(couple=False, mask_shares=(1.0, 0.0, 0.0))
    loss, numbers = flow_loss(denoiser(), batch, recipe, 10.0, torch.Generator().manual_seed(0))
    expected = 1 + float(batch.latents_BDT.square().mean())
    assert float(loss.detach()) == pytest.approx(expected, rel=0.1)
    assert numbers["kept"] == 0


def test_padding_has_no_part_in_the_loss() -> None:
    batch = waves(Draw(0, 0, 0))
    short = Batch(**{**vars(batch), "valid_B": torch.full((8,), 10)})
    recipe = FlowRecipe(silence_seconds=0.0, mask_shares=(1.0, 0.0, 0.0), couple=False)
    model = denoiser()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    other = torch.where(torch.arange(FRAMES) < 10, batch.latents_BDT, torch.full_like(batch.latents_BDT, 9.0))
    values = [
        float(
            flow_loss(
                model, Batch(**{**vars(short), "latents_BDT": latents}), recipe, 10.0, torch.Generator().manual_seed(0)
            )[0].detach()
        )
        for latents in (batch.latents_BDT, other)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_coupling_pairs_each_clip_with_its_own_noise() -> None:
    noise = torch.randn(8, 4, 10, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    data = noise[order] + 0.01
    assert torch.equal(couple(data, noise), noise[order])
    far = torch.randn(8, 4, 10, generator=torch.Generator().manual_seed(2))
    cost = squared_distances(far, noise)
    chosen = assignment(cost)
    assert sorted(chosen.tolist()) == list(range(8))
    assert float(cost[torch.arange(8), chosen].sum()) < float(cost.diagonal().sum())
    assert torch.equal(couple(far[:1], noise[:1]), noise[:1])


def test_levels_are_truncated_and_rise_with_length() -> None:
    ends = truncated(torch.tensor([0.0, 0.5, 1.0]))
    assert float(ends[0]) == pytest.approx(0, abs=1e-5) and float(ends[2]) > 0.99
    for kind in ("trunc_logit_normal", "logit_normal", "uniform"):
        t = draw_levels(kind, 5000, torch.Generator().manual_seed(0))
        assert float(t.min()) >= 0 and float(t.max()) <= 1 and 0.4 < float(t.mean()) < 0.65, kind
    t = torch.full((2,), 0.5)
    short, long = shift_for_length(t, torch.tensor([256, 4096])).tolist()
    assert short == pytest.approx(0.6225, abs=1e-3) and long == pytest.approx(0.7595, abs=1e-3)


def test_a_share_of_the_levels_is_drawn_high_and_none_by_default() -> None:
    def state(share: float) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return raise_some(torch.zeros(20_000), share, 0.75, generator), generator.get_state()

    none, untouched = state(0.0)
    assert not none.any() and torch.equal(untouched, torch.Generator().manual_seed(0).get_state())
    found, _ = state(0.4)
    high = found[found > 0]
    assert len(high) / len(found) == pytest.approx(0.4, abs=0.01)
    assert float(high.min()) >= 0.75 and float(high.max()) <= 1
    assert float(high.median()) == pytest.approx(1 - 0.25 * 0.5**1.5, abs=0.004)
    batch = waves(Draw(0, 0, 0))
    every = draw_noise(batch, FlowRecipe(high_share=1.0, high_from=0.9), 10.0, torch.Generator().manual_seed(0))
    usual = draw_noise(batch, FlowRecipe(), 10.0, torch.Generator().manual_seed(0))
    assert float(every.t_B.min()) >= 0.9 > float(usual.t_B.min()), "the shift by length comes first"


def test_inpaint_masks_are_mostly_empty_and_never_keep_padding() -> None:
    valid = torch.full((2000,), 40)
    keep = keep_masks(valid, 50, torch.Generator().manual_seed(0))
    kept = keep.mean(1)
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    assert 0.75 < float((kept == 0).float().mean()) < 0.87
    assert float((kept > 0).float().mean()) > 0.1
    assert float(keep[:, 40:].sum()) == 0
    assert float(masked_mean(torch.ones(2, 3, 4), torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]]))) == 0.5


def test_silence_after_the_end_is_exponential_with_its_mean() -> None:
    valid = torch.full((4000,), 100)
    extended = extend_into_silence(valid, 10_000, 43.0, torch.Generator().manual_seed(0))
    assert float((extended - valid).float().mean()) == pytest.approx(43, rel=0.06)
    assert int(extend_into_silence(valid, 101, 43.0, torch.Generator().manual_seed(0)).max()) == 101
    assert valid_mask(torch.tensor([1, 3]), 4).tolist() == [[True, False, False, False], [True, True, True, False]]


def test_text_is_hidden_for_a_tenth_of_the_items() -> None:
    batch = waves(Draw(0, 0, 0))
    many = Batch(*(tensor.repeat(200, *[1] * (tensor.dim() - 1)) for tensor in vars(batch).values()))
    drawn = draw_noise(many, FlowRecipe(couple=False), 10.0, torch.Generator().manual_seed(0))
    assert 0.07 < float(drawn.dropped_B.float().mean()) < 0.13

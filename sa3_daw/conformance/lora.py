"""Cases of the lora family: every adapter kind, strengths, intervals, filters, stacks. Knows no sampler."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from sa3_daw.adapter_files import describe_adapter
from sa3_daw.checkpoint import build, load_strict, read_adapter
from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.models.adapted import AdaptableLayers, AdapterStack
from sa3_daw.models.conditioner import Conditioner, Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.lora import Adapter, Use, singular_bases
from sa3_daw.models.specs import ModelSpec

OFF = (0.0, 0.5)
"""An interval that the fixtures' noise level of 0.6 lies outside of."""


class _Bench:
    """The fixture's model; adapters are put on, measured and taken off again."""

    def __init__(self, fixture: Fixture) -> None:
        spec = ModelSpec.from_config(fixture.config, fixture.name)
        self.fixture = fixture
        self.dit = build(lambda: DiT(spec.dit))
        self.conditioner = build(lambda: Conditioner(spec.conditioning))
        prefixes = {"model.model.": self.dit, "conditioner.": self.conditioner}
        load_strict(prefixes, fixture.weights, fixture.name)
        self.layers = AdaptableLayers({"model.": self.dit, "": self.conditioner})
        self.t = fixture["t"]

    def output(self, *uses: Use) -> Tensor:
        """Return the velocity with these adapters; the duration token is recomputed, the context is not."""
        stack = AdapterStack(self.layers, uses)
        stack.switch_to(float(self.t[0]))
        stack.put_on()
        global_ = self.conditioner.conditioners["seconds_total"](self.fixture["seconds"])
        conditioning = Conditioning(self.fixture["cross_attn_cond"], global_, self.fixture["local_add_cond"])
        velocity: Tensor = self.dit(self.fixture["x"], self.t, self.dit.prepare(conditioning))
        stack.take_off()
        return velocity

    def weight(self, module: str, *uses: Use) -> Tensor:
        """Return one module's effective weight in its own shape; names carry the full checkpoint's prefixes."""
        path = module.removeprefix("model.").removeprefix("conditioner.")
        place = self.layers.place(path)
        assert place is not None, module
        stack = AdapterStack(self.layers, uses)
        stack.switch_to(float(self.t[0]))
        return stack.weight(path).view_as(place.layer.get_parameter("weight"))


def lora_cases(fixture: Fixture) -> Iterator[Case]:
    """Compare every adapter file beside the fixture, alone and stacked."""
    bench = _Bench(fixture)
    folder = fixture.folder / fixture.name
    paths = sorted(folder.glob("*.safetensors"))
    adapters = {path.stem: bench.layers.beside(read_adapter(describe_adapter(path))) for path in paths}
    yield Case.compare("out.base", bench.output(), fixture["out.base"])
    for name, adapter in adapters.items():
        yield from _single_cases(bench, name, adapter)
    yield from _stack_cases(bench, adapters)
    yield Case.compare("out.base after removal", bench.output(), fixture["out.base"], tolerance=1e-5)


def _single_cases(bench: _Bench, name: str, adapter: Adapter) -> Iterator[Case]:
    fixture = bench.fixture
    uses = {
        "out_interval_off": Use(adapter, interval=OFF),
        "out_filter_self_attn": Use(adapter, layer_filter="-self_attn"),
        "out_merged": Use(adapter),
    }
    for key in fixture.keys(f"{name}.out_"):
        variant = key.removeprefix(f"{name}.")
        use = uses.get(variant) or Use(adapter, strength=float(variant.removeprefix("out_s")))
        yield Case.compare(key, bench.output(use), fixture[key])
    for key in fixture.keys(f"{name}.W."):
        yield Case.compare(key, bench.weight(key.removeprefix(f"{name}.W."), Use(adapter)), fixture[key])
    for key in fixture.keys(f"{name}.U."):
        module = key.removeprefix(f"{name}.U.")
        left, right = singular_bases(bench.weight(module).flatten(1).cpu(), adapter.rank)
        yield Case.compare(key, left, fixture[key])
        yield Case.compare(f"{name}.V.{module}", right, fixture[f"{name}.V.{module}"])


def _stack_cases(bench: _Bench, adapters: dict[str, Adapter]) -> Iterator[Case]:
    fixture = bench.fixture
    if not fixture.keys("stack_"):
        return
    lora, dora = adapters["lora"], adapters["dora-rows"]
    stacks = {
        "stack_lora_dora-rows.out": (Use(lora), Use(dora)),
        "stack_dora-rows_lora.out": (Use(dora), Use(lora)),
        "stack_lora0.4_dora-rows1.out": (Use(lora, strength=0.4), Use(dora)),
        "stack_percfg.out": (Use(lora, interval=OFF), Use(dora, interval=(0.5, 1.0), layer_filter="-cross_attn")),
    }
    for key, uses in stacks.items():
        yield Case.compare(key, bench.output(*uses), fixture[key])
    probe = "model.model.transformer.layers.0.self_attn.to_qkv"
    key = "stack_lora_dora-rows.W0"
    yield Case.compare(key, bench.weight(probe, Use(lora), Use(dora)), fixture[key])

"""The published models: repository, revision, sizes and hashes, pinned. Knows no network and no config.

Source: CHECKPOINTS.md. Base models are for guidance and training, the others answer in eight steps.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One repository at one revision. ``is_gated``: its licence must be accepted on its page before a download."""

    name: str
    repository: str
    revision: str
    weights_bytes: int
    weights_sha256: str
    config_sha256: str
    is_gated: bool
    has_text_encoder: bool = True

    @property
    def page(self) -> str:
        """Where its licence can be read and accepted."""
        return f"https://huggingface.co/{self.repository}"


TEXT_ENCODER_BYTES = 1_230_000_000
"""Weights and tokenizer of t5gemma-b-b-ul2, the same in every repository."""

PUBLISHED: dict[str, Published] = {
    model.name: model
    for model in (
        Published(
            "small-music", "stabilityai/stable-audio-3-small-music", "0fef1392cd842149a2b6d445e181c97608faac06",
            2_270_384_940, "da85866b11b01d0694d990785f6abbd79c8064df1b0e6f8aea52935e0ef84b64",
            "100776f25af5aa83f70e0c6b384de6690cb4e5ad01c24f7cfbb6524d18765f06", is_gated=True,
        ),
        Published(
            "small-sfx", "stabilityai/stable-audio-3-small-sfx", "ae12755283df9d62ca39a9b050a39a0b607b8c20",
            2_270_384_940, "ed9cf1b6172f1a8c2921a9560c21109ff3239524563ced9dce6dcdef41e2f515",
            "a8aa5d45ae3d6524d3cd4e85e0d6e7d8d401267e7c6f28214bca8aae7b77bdeb", is_gated=True,
        ),
        Published(
            "medium", "stabilityai/stable-audio-3-medium", "27b5a21b791b1b033d193a9e1e3ce78493f102f9",
            9_222_116_660, "48d9c65e290e7bcd5194e0633bfc2424a59ee9683f5c2d58762d997b7d8ce0b5",
            "4f8846649df59167e1792d134acb6fc2bb7105227c5455300bad6cb107e20c88", is_gated=True,
        ),
        Published(
            "small-music-base", "stabilityai/stable-audio-3-small-music-base",
            "eab5ceee5ad9c1ed38800aff30a8e49d1161c539",
            2_270_384_940, "79691fac2a08a99a229b98963f8377ddc78c16f5c63f7e3a022375c311093ab4",
            "e97f53a0882a99b0307cf7d87d63423f75925b5def5efc180d29740899c62486", is_gated=False,
        ),
        Published(
            "small-sfx-base", "stabilityai/stable-audio-3-small-sfx-base", "cc5ddb990e30daa68336ac61c140c37c7033ab7c",
            2_270_384_940, "0c7cddb22cd7bf5e8169c6731a9eb7690c27ef5b53e8a4f9b4b2aaf8afcdaea2",
            "cecfbca43fa8ece5d1d128fba74a39594ea954b2b128048534f72665c6721165", is_gated=False,
        ),
        Published(
            "medium-base", "stabilityai/stable-audio-3-medium-base", "b32993f73c3bdc3864043a72d8032606bba737c8",
            9_222_116_660, "c443fcc4d491475064cd0ff3eb92459b1e5f5060e86d96d016f048e528e24195",
            "27e2a299f0bda6ff742d3387398f929299575642f2c6a4d4c4f94830928fd0d5", is_gated=False,
        ),
        Published(
            "same-s", "stabilityai/SAME-S", "fbeb3dcf53a326e5682f38e22e7f740202d44232",
            433_007_588, "c19698ce3a0b462acb967ee495e9eb7945221f236968c50206cce8cf22b3d305",
            "c329dd0a6f61d0b3ea4f23930059a6c00437005692fed4310924eb286253303a", is_gated=False, has_text_encoder=False,
        ),
        Published(
            "same-l", "stabilityai/SAME-L", "41acf79dd242877d6499a1108ca5dba5d5eecfc5",
            3_408_566_892, "8cf93d5345c559307fc429bde896f594516fd6a1a23014c2f6055f78d8e13378",
            "9ca55d03d868b8f6769cd7d678430a6b70c328db24350601903a92001bd4f9f1", is_gated=False, has_text_encoder=False,
        ),
    )
}  # fmt: skip


def mending_command(name: str) -> str:
    """Return what a user runs when the files of a model are not whole or not right."""
    return f"sa3-daw models pull {name}" if name in PUBLISHED else f"sa3-daw models verify {name}"

"""What an engine would compute with on this machine, as one line of JSON: `python -m sa3_daw.engine.probe`.

Apart from the engine because it may fail: what it prints, or how it dies, is what `sa3-daw doctor` tells.
"""

from __future__ import annotations

import json

import torch


def facts() -> dict[str, object]:
    """Return torch's version and the device it offers."""
    found: dict[str, object] = {"torch": torch.__version__, "device": "cpu", "name": "", "free_bytes": 0}
    if torch.cuda.is_available():
        free_bytes, _ = torch.cuda.mem_get_info()
        found |= {"device": "cuda", "name": torch.cuda.get_device_name(), "free_bytes": free_bytes}
    # A product of two matrices: a build for another processor dies here and not in someone's session.
    ones = torch.ones(64, 64, device=str(found["device"]))
    found["computes"] = bool((ones @ ones)[0, 0].item() == 64)
    return found


if __name__ == "__main__":
    print(json.dumps(facts()))

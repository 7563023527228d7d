"""Playing a file through the machine's audio device, when there is one. Knows no daemon and no job."""

from __future__ import annotations

import sys
from pathlib import Path

from sa3_daw.audio.files import read_wav


def play(path: Path) -> None:
    """Play to the end, or say in one sentence why that cannot be; the file is there either way."""
    try:
        # Loads PortAudio, which Linux wheels do not bring: OSError without it.
        import sounddevice
    except OSError:
        explain("PortAudio is not installed; on Debian or Ubuntu: sudo apt-get install libportaudio2")
        return
    samples, sample_rate, _, _ = read_wav(path)
    try:
        sounddevice.play(samples.T, sample_rate)
        sounddevice.wait()
    except sounddevice.PortAudioError as error:
        explain(f"the audio device does not play: {error}")


def explain(reason: str) -> None:
    print(f"sa3-daw: not played: {reason}", file=sys.stderr)

"""A batch's entries as one HTML page: players, pictures and what was measured. Knows no audio and no daemon."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from sa3_daw.render.batch import Entry
from sa3_daw.render.page import failed, with_sound, without_sound, write_page
from sa3_daw.take import CLEAR_BEAT


def write_report(folder: Path, entries: Sequence[Entry], num_items: int) -> Path:
    """Write the page beside the files it points to; return its path."""
    num_failed = sum("error" in entry for entry in entries)
    title = f"{len(entries) - num_failed} of {num_items} files, {num_failed} failed"
    return write_page(folder, title, "".join(map(article, entries)))


def article(entry: Entry) -> str:
    """Return one entry's part of the page."""
    head = f"<h2>{escape(entry['file'])}</h2><p>{escape(entry['prompt'])}</p>"
    if "error" in entry:
        return without_sound(head + failed(entry["error"]), "failed")
    return with_sound(head, entry["file"], entry["picture"], facts_of(entry))


def facts_of(entry: Entry) -> dict[str, str]:
    measured = entry["measured"]
    beats, loudness, key = measured["beats"], measured["loudness_lufs"], measured["key"]
    rate = entry["sample_rate"]
    is_clear = beats and beats["confidence"] >= CLEAR_BEAT
    tempo = f"{beats['bpm']:.2f} BPM, confidence {beats['confidence']:.2f}" if is_clear else "no clear beat"
    return {
        "length": f"{entry['num_samples']} samples at {rate} Hz ({entry['num_samples'] / rate:.3f} s)",
        "seed": f"{entry['seed']}, model {entry['model']}",
        "tempo asked": f"{entry['bpm']:g} BPM",
        "measured": tempo,
        "loudness": "too short or silent" if loudness is None else f"{loudness:.1f} LUFS",
        "peak": f"{measured['peak_db']:.1f} dBFS",
        "key": f"{key['key']}, confidence {key['confidence']:.2f}" if key else "none found",
    }

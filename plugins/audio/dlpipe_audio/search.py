"""What ``dlpipe predict`` does with a trained encoder of words: find the same word in files or in a long recording.

Axes: N recordings, T frames, F numbers per frame, V numbers of a vector, W windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from dlpipe.compute import Compute
from dlpipe.data import FailedItem, open_files, own_method, require_new
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe_audio.audio_files import read_word
from dlpipe_audio.recorded_words import MAX_BYTES
from dlpipe_audio.recordings import audio_names
from dlpipe_audio.smoothing import smoothed
from dlpipe_audio.word_data import WordData

BATCH = 256
#: Windows of a recording are as long as the query times these, and begin every `STRIDE` frames.
STRETCHES, STRIDE = (0.8, 1.0, 1.25), 4
#: Longest recording that is searched.
MAX_RECORDING_S = 7200
Encode = Callable[[Tensor, Tensor], Tensor]


def search(
    model: nn.Module,
    data: WordData,
    compute: Compute,
    *,
    items: Sequence[str] = (),
    among: Path | None = None,
    inside: Path | None = None,
    top: Positive = 5,
    neighbors: NonNegative = 0,
    output: Path | None = None,
) -> Iterator[dict[str, Any] | FailedItem]:
    """Find recordings that sound like the given ones, by the cosine of their vectors.

    Args:
        items: the spoken words to search for, audio files or folders of them.
        among: a folder or an archive of recordings of one word each (.wav, .flac, .ogg).
        inside: a long recording; the answers say where in it the word may be.
        top: number of answers for each item.
        neighbors: average the vector of each item and recording with those of this many nearest ones, so that which
            recordings there are has an effect on all vectors; only with `among`. Nobody knows who speaks.
        output: a new .npy file for the vectors of items and recordings, with their names in a .tsv file beside it, or a
            .safetensors file for both.

    Raises:
        InputError: the options do not fit together, or what is searched cannot be used.
    """
    encode = own_method(model, "encode")
    if encode is None:
        raise InputError(f"{type(model).__name__} makes no vectors of words; use audio.seq2seq_autoencoder")
    if not items and output is None:
        raise InputError("give a recording to search for, or --output to write the vectors of --among")
    if among is None and inside is None and output is None:
        raise InputError("give --among FOLDER or --inside RECORDING to search in, or --output to write the vectors")
    if neighbors and among is None:
        raise InputError(f"--neighbors {neighbors} are recordings of --among; give a folder, or leave --neighbors out")
    if output is not None:
        _require_vectors_file(output)
    given, queries, failed = _encoded_items(data, items)
    yield from failed
    if failed and not given:
        return
    vectors = encoded(encode, queries, compute)
    names, recorded = given, vectors
    if among is not None:
        found, frames = _recordings(data, among)
        others = encoded(encode, frames, compute)
        names, recorded = [*names, *found], torch.cat([vectors, others]) if given else others
        if neighbors:
            recorded = smoothed(recorded, torch.zeros(len(names)), neighbors)
        seconds = [round(len(each) * data.features.hop / data.features.rate_hz, 2) for each in frames]
        for item, vector in zip(given, recorded[: len(given)], strict=True):
            scores = F.cosine_similarity(vector.unsqueeze(0), recorded[len(given) :])
            best = scores.topk(min(top, len(found)))
            for score, row in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                yield {"item": item, "file": found[row], "cosine": round(score, 4), "seconds": seconds[row]}
    if inside is not None:
        for item, query, vector in zip(given, queries, vectors, strict=True):
            yield from _found_inside(data, encode, compute, (item, query, vector), inside, top)
    if output is not None:
        _write(output, names, recorded)
        yield {"written": str(output), "vectors": len(names)}


def _encoded_items(data: WordData, items: Sequence[str]) -> tuple[list[str], list[Tensor], list[FailedItem]]:
    """Return the recordings that items name, their frames (T, F), and the items that cannot be used."""
    given, queries, failed = [], [], []
    for item in items:
        try:
            recordings = data.expand(item)
        except InputError as error:
            failed.append(FailedItem(item, item, error))
            continue
        for recording in recordings:
            try:
                queries.append(data.encode(recording)["frames"])
                given.append(recording)
            except InputError as error:
                failed.append(FailedItem(recording, recording, error))
    return given, queries, failed


def encoded(encode: Encode, frames: Sequence[Tensor], compute: Compute) -> Tensor:
    """Return the vectors (N, V) of words (T, F)."""
    found = []
    for start in range(0, len(frames), BATCH):
        part = frames[start : start + BATCH]
        lengths = torch.tensor([len(each) for each in part])
        with torch.inference_mode(), compute.autocast():
            batch = pad_sequence(list(part), batch_first=True).to(compute.device)
            found.append(encode(batch, lengths).float().cpu())
    return torch.cat(found) if found else torch.zeros(0, 0)


def _recordings(data: WordData, path: Path) -> tuple[list[str], list[Tensor]]:
    """Return the names and the frames (T, F) of the recordings in a folder or an archive."""
    files = open_files(path, MAX_BYTES)
    names, features = audio_names(files), data.features
    found = []
    for name in names:
        where = str(path / name)
        wave, _ = read_word(files.read(name), where, features.rate_hz)
        found += features.normalized([features.frames(wave, where)], [""])
    return names, found


def _found_inside(
    data: WordData, encode: Encode, compute: Compute, asked: tuple[str, Tensor, Tensor], path: Path, top: int
) -> Iterator[dict[str, Any]]:
    """Yield where in a recording the word may be: the best windows that do not overlap."""
    item, query, vector = asked
    content = path.read_bytes()
    wave, _ = read_word(content, str(path), data.features.rate_hz, longest=MAX_RECORDING_S)
    frames = data.features.frames(wave, str(path))
    places = [
        (start, start + length)
        for length in sorted({max(2, round(stretch * len(query))) for stretch in STRETCHES})
        for start in range(0, len(frames) - length + 1, STRIDE)
    ] or [(0, len(frames))]
    windows = [data.features.normalized([frames[start:end]], [""])[0] for start, end in places]
    scores = F.cosine_similarity(vector.unsqueeze(0), encoded(encode, windows, compute))
    taken: list[tuple[int, int]] = []
    hop = data.features.hop / data.features.rate_hz
    for row in scores.argsort(descending=True).tolist():
        start, end = places[row]
        if len(taken) == top:
            return
        if all(end <= other[0] or start >= other[1] for other in taken):
            taken.append((start, end))
            yield {
                "item": item,
                "start_s": round(start * hop, 2),
                "end_s": round(end * hop, 2),
                "cosine": round(float(scores[row]), 4),
            }


def _require_vectors_file(output: Path) -> None:
    """Refuse a file for the vectors, or one for their names, before anything is computed.

    Raises:
        InputError: it exists, its name has another ending, or there is no such folder.
    """
    if output.suffix not in (".npy", ".safetensors"):
        raise InputError(f"--output {output}: expected a name that ends in .npy or .safetensors")
    require_new(output)
    if output.suffix == ".npy":
        require_new(output.with_suffix(".tsv"))


def _write(output: Path, names: Sequence[str], vectors: Tensor) -> None:
    """Write vectors (N, V) and their names."""
    if output.suffix == ".npy":
        np.save(output, vectors.numpy())
        lines = [" ".join(name.split()) for name in names]
        output.with_suffix(".tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    else:
        # The bytes of a name need not be UTF-8.
        shown = [name.encode("utf-8", "backslashreplace").decode() for name in names]
        save_file({"vectors": vectors.contiguous()}, output, {str(row): name for row, name in enumerate(shown)})

"""What ``dlpipe predict`` does with a trained model that generates speech.

Axes: N recordings, S samples of one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import soundfile
import torch
from pydantic import Field
from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe.messages import nearest
from dlpipe_audio.mu_law import to_wave
from dlpipe_audio.waveforms import WaveformData
from dlpipe_audio.wavenet import WaveNet
from dlpipe_audio.wavenet_sampling import draw_recordings

#: Each second takes as many passes through the network as it has samples.
MAX_SECONDS = 60
#: With a higher one, all levels are as good as equally probable.
MAX_TEMPERATURE = 100


def generate(
    model: nn.Module,
    data: WaveformData,
    compute: Compute,
    *,
    word: str | None = None,
    speaker: str | None = None,
    count: Positive = 1,
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 0.5,
    temperature: Annotated[float, Field(gt=0, le=MAX_TEMPERATURE)] = 1.0,
    seed: NonNegative = 0,
    output: Path = Path("speech"),
) -> Iterator[dict[str, Any]]:
    """Generate speech, as WAV files.

    Args:
        word: what is said, for a model that is told which word; by default all words.
        speaker: who says it, for a model that is told who speaks; by default all speakers.
        count: recordings of each word by each speaker.
        seconds: duration of each, at most 60.
        temperature: by which the logits of each sample are divided; below 1, speech is clearer and less varied.
        seed: of the random numbers; the recordings of a seed are always the same.
        output: a new folder for the files, which are named WORD_SPEAKER_NUMBER.wav.

    Raises:
        InputError: there is no such word or speaker, or the model is not told which; the folder has files.
    """
    if not isinstance(model, WaveNet):
        raise InputError(f"{type(model).__name__} generates no speech; use audio.wavenet")
    told = model.conditions
    rate = data.facts["rate_hz"]
    samples = round(seconds * rate)
    if not samples:
        raise InputError(f"--seconds {seconds:g}: less than one sample; expected at least {1 / rate:.3g}")
    words = _chosen("word", word, data.facts["words"], told is not None and told.word is not None)
    speakers = _chosen("speaker", speaker, data.facts["speakers"], told is not None and told.speaker is not None)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: expected a new or an empty folder; choose another name")
    asked = [(one, other) for one in words for other in speakers for _ in range(count)]
    device = compute.device
    levels = draw_recordings(
        model.eval(),
        torch.tensor([data.facts["words"].index(one) if one else 0 for one, _ in asked], device=device),
        torch.tensor([data.facts["speakers"].index(other) if other else 0 for _, other in asked], device=device),
        torch.full((len(asked),), samples, device=device),
        seed=seed,
        temperature=temperature,
    ).cpu()
    output.mkdir(parents=True, exist_ok=True)
    written: Counter[str] = Counter()
    for (one, other), row in zip(asked, levels, strict=True):
        said = {name: value for name, value in (("word", one), ("speaker", other)) if value}
        stem = "_".join(re.sub(r"[^\w-]", "_", value) for value in said.values()) or "speech"
        path = output / f"{stem}_{written[stem]}.wav"
        written[stem] += 1  # also if two names differ in a character that a file name cannot have
        soundfile.write(path, to_wave(row).numpy(), rate)
        yield {"written": str(path), **said, "seconds": samples / rate}


def _chosen(option: str, name: str | None, known: list[str], is_told: bool) -> list[str]:
    """Return what is asked for, or all there is; an empty name if the model does not know it."""
    if not is_told:
        if name is not None:
            raise InputError(
                f"--{option} {name}: the model is not told which {option} to generate; leave --{option} out, or train "
                f'one with "{option}" among its conditions'
            )
        return [""]
    if name is None:
        return known
    if name not in known:
        raise InputError(f"--{option} {name}: expected one of {', '.join(known)}.{nearest(name, known)}")
    return [name]

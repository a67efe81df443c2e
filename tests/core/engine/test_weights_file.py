import zipfile

import pytest
import torch
from safetensors.torch import save_file

from dlpipe.engine.weights_file import read_weights
from dlpipe.runs.weights import save_weights


def test_a_compressed_file_is_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as old,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))

    with pytest.raises(ValueError, match="cannot be loaded safely: bomb.pth contains compressed parts"):
        read_weights(tmp_path / "bomb.pth")


def test_a_file_from_before_archives_is_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert read_weights(tmp_path / "old.pth")["a"].equal(torch.ones(2))


def test_tied_weights_of_a_checkpoint_are_there_under_both_names(tmp_path):
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(2, 3)})
    model["b"].weight = model["a"].weight
    save_weights(model, tmp_path / "weights.safetensors")

    found = read_weights(tmp_path / "weights.safetensors")

    assert found["b.weight"].equal(model["a"].weight)
    assert set(found) == set(model.state_dict())


def test_metadata_that_names_no_weights_is_ignored(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", metadata={"format": "pt"})

    assert set(read_weights(tmp_path / "w.safetensors")) == {"a"}

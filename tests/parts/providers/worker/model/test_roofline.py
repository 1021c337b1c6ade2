"""The bound of the hardware and the price that pays for it, against figures worked out by hand."""

import pytest

from providers.worker.model.family import SHAPES, Shape
from providers.worker.model.roofline import (
    GPUS,
    Gpu,
    busy_to_break_even,
    dollars_per_million,
    fits,
    flops_per_token,
    tokens_per_second,
)
from providers.worker.process import main


def shape(name: str) -> Shape:
    return next(one for one in SHAPES if one.name == name)


def gpu(name: str) -> Gpu:
    return next(one for one in GPUS if one.name == name)


@pytest.mark.parametrize(
    ("name", "gflops"),
    [("80M", 0.080), ("160M", 0.143), ("330M", 0.430), ("0.6B", 0.940), ("1.7B", 2.88), ("4B", 7.42), ("8B", 14.0)],
)
def test_flops_per_token(name: str, gflops: float) -> None:
    assert flops_per_token(shape(name), 512) / 1e9 == pytest.approx(gflops, rel=0.005)


def test_longer_texts_cost_more_per_token() -> None:
    assert flops_per_token(shape("4B"), 8192) / 1e9 == pytest.approx(9.68, rel=0.005)


def test_eight_thousandths_for_the_4b_need_a_cheap_h100_or_the_smaller_model() -> None:
    rate = tokens_per_second(shape("4B"), gpu("H100"), 0.5, 512)
    assert rate == pytest.approx(66_700, rel=0.01)
    assert busy_to_break_even(1.50, rate, 0.008) == pytest.approx(0.78, abs=0.01)
    assert busy_to_break_even(2.50, rate, 0.008) > 1.29
    smaller = tokens_per_second(shape("1.7B"), gpu("H100"), 0.5, 512)
    assert busy_to_break_even(2.50, smaller, 0.008) == pytest.approx(0.505, abs=0.01)


def test_an_idle_half_hour_doubles_the_price() -> None:
    assert dollars_per_million(2.5, 66_700, 0.5) == pytest.approx(2 * dollars_per_million(2.5, 66_700, 1.0))


def test_the_14b_does_not_fit_a_small_gpu() -> None:
    assert not fits(shape("14B"), gpu("L4"))
    assert fits(shape("14B"), gpu("H100"))
    assert fits(shape("4B"), gpu("L4"))


def test_the_command_prints_formula_sizes_and_prices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roofline", "--mfu", "0.4"]) == 0
    text = capsys.readouterr().out
    assert "2 · N + 2 · L · H · d · S" in text
    assert all(one.name in text for one in SHAPES)
    assert "MFU 40%" in text
    with pytest.raises(SystemExit):
        main(["roofline", "--mfu", "1.4"])

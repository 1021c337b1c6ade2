"""What pages are put together from: amounts, counts, times, charts, origins, Markdown. Plain values, no server."""

import re
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from web.markdown import render_markdown
from web.origins import Origins
from web.parts import money, numbers, times
from web.parts.chart import BUCKETS_MAX, Chart, Level, Series, draw


@pytest.mark.parametrize(
    ("nano", "short", "exact"),
    [
        (0, "$0.00", "$0.00"),
        (1, "$0.000000001", "$0.000000001"),
        (860_160, "$0.00086", "$0.00086016"),
        (9_999_999, "$0.0099", "$0.009999999"),
        (10_000_000, "$0.01", "$0.01"),
        (1_005_000_000, "$1.01", "$1.005"),
        (-61_400_000_000, "\N{MINUS SIGN}$61.40", "\N{MINUS SIGN}$61.40"),
        (123_456_789_012_345_678_901, "$123,456,789,012.35", "$123,456,789,012.345678901"),
    ],
)
def test_an_amount_is_short_to_read_and_exact_to_check(nano: int, short: str, exact: str) -> None:
    assert money.short(nano) == short
    assert money.exact(nano) == exact


@pytest.mark.parametrize(
    ("number", "short"),
    [(0, "0"), (999, "999"), (1_000, "1K"), (41_100, "41.1K"), (999_600, "1M"), (4_022_468_096, "4.02B")],
)
def test_a_count_is_short(number: int, short: str) -> None:
    assert numbers.short(number) == short


def test_less_than_all_is_never_all() -> None:
    assert numbers.percent(0.999999) == "99.99 %"
    assert numbers.percent(1.0) == "100.00 %"
    assert numbers.byte_size(10_240_000_000) == "10.2 GB"


def test_a_time_has_its_zone_on_the_day_of_a_change_too() -> None:
    before, after = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert times.moment(before, "Europe/Berlin") == "2026-10-25 02:30 CEST"
    assert times.moment(after, "Europe/Berlin") == "2026-10-25 02:30 CET"
    for none in ("None/Nowhere", "../etc/passwd", "", "\0"):
        assert times.moment(after, none) == "2026-10-25 01:30 UTC"


def test_a_chart_has_a_path_for_each_series_and_a_gap_where_nothing_is_known() -> None:
    labels = tuple(str(number) for number in range(BUCKETS_MAX))
    values = tuple(None if number == 60 else float(number) for number in range(BUCKETS_MAX))
    lines = draw(Chart(title="t", unit="ms", labels=labels, series=(Series("a", values),) * 6, kind="lines"))
    assert [path.d.count("M") for path in lines.paths] == [2] * 6
    empty = draw(Chart(title="t", unit="", labels=labels, series=(Series("a", (0,) * BUCKETS_MAX),)))
    assert empty.paths[0].d == ""
    tiny = draw(Chart(title="t", unit="", labels=("a",), series=(Series("a", (0.00042,)),)))
    assert float(tiny.up[-1].text) >= 0.00042


def test_small_drifts_are_told_apart_on_a_logarithmic_axis_whose_lowest_line_is_zero() -> None:
    labels = ("a", "b", "c")
    series = (Series("s", (1e-6, 2e-6, 0.0)), Series("far", (None, 0.3, 1e-12)))
    level = Level("allowed", 2e-3)
    drawing = draw(Chart(title="t", unit="", labels=labels, series=series, kind="lines", scale="log", levels=(level,)))
    assert [tick.text for tick in drawing.up] == ["0", "10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]
    heights = [float(height) for height in re.findall(r"[ML][0-9.]+ ([0-9.]+)", drawing.paths[0].d)]
    assert heights[0] - heights[1] > 5
    assert heights[2] == drawing.baseline == drawing.up[0].at
    assert drawing.up[-1].at < drawing.levels[0].at < drawing.up[4].at + 1
    nothing = draw(
        Chart(title="t", unit="", labels=labels, series=(Series("s", (0.0,) * 3),), kind="lines", scale="log")
    )
    assert [tick.text for tick in nothing.up] == ["0", "0.1", "1"]


def test_a_host_is_ours_with_and_without_its_schemes_port() -> None:
    ours = Origins.of("https://router.example")
    assert ours.is_tls
    assert [ours.has_host(host) for host in ("router.example", "ROUTER.example:443", "router.example:80", "")] == [
        *(True, True, False, False)
    ]


def test_a_forwarded_address_is_believed_of_our_proxies_alone() -> None:
    origins = Origins.of("https://router.example", proxies=(ip_network("10.0.0.0/8"),))
    assert origins.client("203.0.113.9", "198.51.100.1") == "203.0.113.9"
    assert origins.client("10.0.0.1", "6.6.6.6, 198.51.100.1") == "198.51.100.1"
    assert origins.client("10.0.0.1", "198.51.100.1, 10.0.0.2") == "198.51.100.1"
    assert origins.client("10.0.0.1", "") == "10.0.0.1"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "![x](https://evil.example/pixel.png)",
        '[x](https://evil.example "\\" onmouseover=alert(1)")',
        "<img src=x onerror=alert(1)>",
        "[x]: data:text/html,<script>\n\n[x]",
        "```html\n<script>alert(1)</script>\n```",
    ],
)
def test_nothing_of_others_is_markup(text: str) -> None:
    html = render_markdown(text)
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert "nofollow noopener" in html or "<a href" not in html

"""Pages: nothing inline, colours as tokens alone, templates and scripts as short as files of ours, and light."""

import ast
import gzip
import re
from pathlib import Path

from router.api.app import Audience, operations_for
from router.api.operation import operation_routes
from tests.house.source import ROOT, dotted, nodes, product
from web.static import Assets

WEB = ROOT / "web"
TEMPLATES = sorted(WEB.rglob("*.html"))
SHEETS = sorted((WEB / "assets/css").glob("*.css"))
SCRIPTS = sorted((WEB / "assets/js").glob("*.js"))
TEMPLATE_LINES_MAX, SCRIPT_LINES_MAX, SHEET_LINES_MAX = 200, 200, 200
SCRIPTS_BYTES_MAX, STYLES_BYTES_MAX = 8_000, 12_000

# JSON-LD is data: it runs nowhere, and no policy looks at it.
INLINE = re.compile(
    r"(?i)<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe\b|Markup"
    r'|<script(?![^>]*\ssrc=)(?! type="application/ld\+json")'
)
PART = re.compile(r'{%-?\s+(?:from|import|include|extends)\s+"([a-z_/]+\.html)"')
COLOUR = re.compile(
    r"(?i)#[0-9a-f]{3,8}\b|\b(?:rgb|hsl|lab|lch|oklch|oklab|color|hwb)a?\(|:\s*(?:white|black|red|green|blue|gr[ae]y)\b"
)
# What makes markup or programs from text.
SINKS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(\s*[\"']")
# A license's name stands on a page because a verdict says so, never because somebody typed it.
LICENSES = re.compile(r"(?i)apache-?\s?2|\bMIT\b(?! )|cc-by|\bgpl|\bllama\b.{0,12}license")


def lines_of(file: Path) -> int:
    return len(file.read_text().splitlines())


def found(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (match := pattern.search(line))
    ]


def test_nothing_stands_inline_in_a_template() -> None:
    assert TEMPLATES
    assert not found(INLINE, TEMPLATES)


def test_colours_are_tokens() -> None:
    assert not found(COLOUR, [sheet for sheet in SHEETS if sheet.name != "tokens.css"])
    assert not found(COLOUR, TEMPLATES)


def test_scripts_make_nothing_from_text() -> None:
    assert not found(SINKS, SCRIPTS)


def test_no_template_names_a_license() -> None:
    assert not found(LICENSES, TEMPLATES)


def test_templates_scripts_and_sheets_are_short() -> None:
    limits = {".html": TEMPLATE_LINES_MAX, ".js": SCRIPT_LINES_MAX, ".css": SHEET_LINES_MAX}
    long = {str(file): lines_of(file) for file in (*TEMPLATES, *SCRIPTS, *SHEETS)}
    assert not {file: lines for file, lines in long.items() if lines > limits[Path(file).suffix]}


def test_scripts_and_styles_are_light() -> None:
    files = Assets.read().files
    sizes = {name: len(gzip.compress(content, 6)) for name, content in files.items()}
    assert sum(size for name, size in sizes.items() if name.endswith(".js")) <= SCRIPTS_BYTES_MAX
    assert sizes["site.css"] <= STYLES_BYTES_MAX


def test_every_sheet_is_in_the_one_that_is_served() -> None:
    assert all(sheet.read_bytes() in Assets.read().files["site.css"] for sheet in SHEETS)


def test_pages_call_operations_that_there_are() -> None:
    names = {
        route.operation_id for noun in operations_for(Audience.EVERYONE) for route in operation_routes(noun.routes)
    }
    called = {
        node.args[0].value
        for file in product()
        if file.startswith("web/")
        for node in nodes(file)
        if isinstance(node, ast.Call) and dotted(node.func).endswith("request.run") and node.args
        if isinstance(node.args[0], ast.Constant)
    }
    assert called
    assert called <= names


def test_a_template_belongs_to_a_page_beside_it_or_is_a_part_of_another() -> None:
    orphans = [file for file in TEMPLATES if file.parent.name != "parts" and not file.with_suffix(".py").exists()]
    named = {
        node.value
        for file in product()
        if file.startswith("web/")
        for node in nodes(file)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".html")
    } | {name for file in TEMPLATES for name in PART.findall(file.read_text())}
    assert not [file for file in orphans if file.relative_to(WEB).as_posix() not in named]

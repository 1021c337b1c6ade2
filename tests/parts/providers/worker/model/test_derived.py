"""No-derivatives weights are served as published, or by a recorded waiver."""

import json
import shutil
from pathlib import Path

import pytest

from providers.worker.errors import LicenseForbids
from providers.worker.model.derived import check_derived, derivation_of, licenses_of
from providers.worker.model.family import SHAPES, Shape, shape_of
from providers.worker.model.profile import read_profile

PUBLISHED = {"80M": 31, "160M": 62, "330M": 198, "0.6B": 440, "1.7B": 1409, "4B": 3634, "8B": 6946, "14B": 13212}


@pytest.fixture
def folder(qwen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen, tmp_path / "model"))


def with_config(folder: Path, **fields: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    return folder


def card(folder: Path, license: str) -> Path:
    (folder / "README.md").write_text(f"---\nlicense: {license}\ntags:\n- x\n---\n# Model\n")
    return folder


def derived(folder: Path, name: str) -> str | None:
    return derivation_of(folder, read_profile(folder, name))


def test_published_weights_are_served_whatever_the_license(folder: Path) -> None:
    card(folder, "cc-by-nc-nd-4.0")
    assert derived(folder, "someone/model") is None
    check_derived("someone/model", None, licenses_of(folder, ()), None)


@pytest.mark.parametrize("license", ["cc-by-nc-nd-4.0", "CC-BY-ND-4.0"])
def test_quantized_weights_of_a_no_derivatives_model_are_refused(folder: Path, license: str) -> None:
    card(with_config(folder, quantization_config={"quant_method": "any"}), license)
    kind = derived(folder, "someone/model")
    assert kind == "quantized"
    with pytest.raises(LicenseForbids, match="forbids derivatives"):
        check_derived("someone/model", kind, licenses_of(folder, ()), None)
    check_derived("someone/model", kind, licenses_of(folder, ()), "waiver 0192 of 2026-11-24")


def test_what_the_operator_knows_of_the_license_counts_too(folder: Path) -> None:
    card(folder, "apache-2.0")
    check_derived("someone/model", "quantized", licenses_of(folder, ()), None)
    with pytest.raises(LicenseForbids):
        check_derived("someone/model", "quantized", licenses_of(folder, ("CC-BY-NC-ND-4.0",)), None)


def test_an_unknown_license_allows_nothing(folder: Path) -> None:
    with pytest.raises(LicenseForbids, match="nothing says what its license is"):
        check_derived("someone/model", "quantized", licenses_of(folder, ()), None)


def test_a_pruned_model_under_the_familys_name_is_found_out(folder: Path) -> None:
    """The disputed sizes stay closed whatever the card says."""
    card(folder, "apache-2.0")
    kind = derived(folder, "codefuse-ai/F2LLM-v2-4B")
    assert kind is not None
    assert kind.startswith("pruned (2 layers of width 64, not 36 of 2560)")
    with pytest.raises(LicenseForbids, match="contradict each other"):
        check_derived("codefuse-ai/F2LLM-v2-4B", kind, licenses_of(folder, ()), None)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_family_table_agrees_with_the_published_counts(shape: Shape) -> None:
    assert round(shape.computed / 1e6) == PUBLISHED[shape.name]
    assert shape.computed + 151_936 * shape.hidden == shape.parameters
    assert shape_of(f"codefuse-ai/F2LLM-v2-{shape.name}-Preview") is shape


def test_other_names_are_not_of_the_family() -> None:
    assert shape_of("F2LLM-v2-tiny") is None
    assert shape_of("codefuse-ai/F2LLM-4B") is None
    assert shape_of("F2LLM-v2-4Bis") is None

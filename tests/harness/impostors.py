"""Impostors that are right for every published probe text, with the step of verification that tells each."""

from catalog.values import Model
from providers.probing.probe_texts import probe_set
from router.verification.sample_call import TEXTS
from tests.builders.spaces import SpaceLab
from tests.harness.verified_upstreams import (
    IDENTITY,
    NamedWorker,
    Rewrite,
    cached_by_beginning,
    confused_under_load,
    each,
    first_tokens,
    known_alone,
    repeated_from,
    shifted_from,
)

TOKENS = 256
PUBLISHED = frozenset(probe.text for probe in probe_set(TOKENS).probes) | frozenset(TEXTS)


def in_the_published_ones_alone(change: Rewrite) -> Rewrite:
    """Spoils no text that can be known beforehand."""

    def rewrite(texts: list[str], in_flight: int) -> list[str]:
        spoiled = change(texts, in_flight)
        return [text if text in PUBLISHED else new for text, new in zip(texts, spoiled, strict=True)]

    return rewrite


IMPOSTORS: dict[str, tuple[Rewrite, str]] = {
    "cuts at half": (first_tokens(TOKENS // 2), ""),
    "cuts at 200 of 256": (first_tokens(200), "longest texts"),
    "cuts at 250 of 256": (first_tokens(250), "longest texts"),
    "cuts one token before the end": (first_tokens(TOKENS - 1), "longest texts"),
    "is right for the published texts alone": (known_alone(PUBLISHED), "drawn texts"),
    "mixes rows up in batches of 100": (shifted_from(100), "largest batch"),
    "mixes rows up in batches of 2,000": (shifted_from(2000), "largest batch"),
    "repeats the last row behind 512": (repeated_from(512), "largest batch"),
    "reads capitals as small letters": (in_the_published_ones_alone(each(str.lower)), "drawn texts"),
    "knows no letters but Latin ones": (
        in_the_published_ones_alone(each(lambda text: text.encode("ascii", "ignore").decode() or "?")),
        "drawn texts",
    ),
    "reads every digit as 0": (
        in_the_published_ones_alone(each(lambda text: "".join("0" if sign.isdigit() else sign for sign in text))),
        "drawn texts",
    ),
    "caches by the first 100 characters": (cached_by_beginning(100), "drawn texts"),
    "mixes up what comes at once": (in_the_published_ones_alone(confused_under_load), "drawn texts at once"),
    "stops at the first comma": (in_the_published_ones_alone(each(lambda text: text.partition(",")[0])), "drawn texts"),
}


def lateness_of(name: str) -> float:
    """How long such an impostor computes, so that calls meet at it where it needs that, in seconds."""
    return 0.02 if "at once" in name else 0.0


async def a_verified_space(lab: SpaceLab, worker: NamedWorker) -> Model:
    """A model whose space an in-house worker has vouched for."""
    model = await lab.a_model(revision=IDENTITY.revision, max_input_tokens=TOKENS)
    endpoint = await lab.a_draft(model, "worker", worker.worker_url, kind="worker")
    assert (await lab.verify(endpoint)).became_reference
    return model

"""The cause of a quarantine is a column: migrated from the sentences of older releases, which go on to write them."""

from collections.abc import Callable, Iterator

import pytest
from alembic import command
from alembic.config import Config

from gigarouter.schema import migrate, migrations_folder
from providers.outcomes import CredentialRefused, Quarantine
from router.dispatch.attempt import QUARANTINE_CAUSES
from router.registry.endpoints import MOVES, RECOVERABLE, UNDOUBTED
from router.values import EndpointState, QuarantineCause
from store.embedded import Embedded
from store.faults import CannotStart

BEFORE = "0008"
# What an older release wrote as the reason of a quarantine, and the cause that it is.
SENTENCES = {
    "probe_due: base_url of alpha changed": "proof_awaited",
    "probe_due: CredentialRefused: status 401": "credential_refused",
    "probe_due: CredentialRefused: it failed (status 403 billing)": "credential_refused",
    "probe_06a1b2c3d4e5f6g7h8j9k0m1n2: CredentialRefused: it failed (status 402)": "credential_refused",
    "probe_06a1b2c3d4e5f6g7h8j9k0m1n2: in one batch: the worst cosine is 0.2": "probe",
    "probe_06a1b2c3d4e5f6g7h8j9k0m1n2: Broken: it failed (status 500)": "probe",
    "it answers from the space b, and a was tested": "space_mismatch",
    "its answers come from two spaces": "space_mismatch",
    "it is quarantined": "model_missing",
    "numerics changed while it was draining; a test brings it back": "edited_while_draining",
    "Broken: it failed (status 500)": "test_failed",
    "the same text twice has a cosine of 0.1000, another text 0.2000": "test_failed",
    "The address must not be reached (it is in 10.0.0.0/8).": "test_failed",
    "the customer of Monday complained: CredentialRefused?": "operator",
    "": "operator",
}
MODEL = """
INSERT INTO models (
    id, owned_by, summary, published_on, dimensions, max_input_tokens, normalized, pooling, numerics, space
) VALUES ('tests/m', 'tests', 'S', '2026-01-01', 8, 512, true, 'mean', 'fp32', 's');
INSERT INTO providers (id, name, kind) VALUES (gen_random_uuid(), 'alpha', 'sandbox')
"""
ENDPOINT = """
INSERT INTO endpoints (id, model_id, provider_id, upstream_model, space, cost_nano_per_mtok)
SELECT gen_random_uuid(), 'tests/m', id, '{name}', 's', 0 FROM providers
"""

Query = Callable[[str], str]


@pytest.fixture
def old(servers: Embedded) -> Iterator[str]:
    """The name of a database at the revision before, with a model and a provider."""
    name = "before_quarantine_cause"
    servers.postgres.query(f'CREATE DATABASE "{name}"')
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["database_url"] = servers.postgres.url(name)
    command.upgrade(config, BEFORE)
    servers.postgres.query(MODEL, name)
    yield name
    servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def query(servers: Embedded, old: str) -> Query:
    return lambda statement: servers.postgres.query(statement, old)


def move(query: Query, name: str, *states: str, reason: str = "") -> None:
    """As an older release does."""
    for state in states:
        sentence = reason.replace("'", "''")
        query(f"UPDATE endpoints SET state = '{state}', state_reason = '{sentence}' WHERE upstream_model = '{name}'")


def old_style_endpoint(query: Query, name: str, *states: str, reason: str = "") -> None:
    query(ENDPOINT.format(name=name))
    move(query, name, *states, reason=reason)


def told(query: Query) -> dict[str, tuple[str, str]]:
    """Each endpoint's cause and sentence."""
    rows = query("SELECT upstream_model, quarantine_cause, state_reason FROM endpoints").splitlines()
    return {name: (cause, reason) for name, cause, reason in (row.split("|") for row in rows)}


def test_each_sentence_of_an_older_release_becomes_its_cause_and_stays_as_it_is(
    servers: Embedded, old: str, query: Query
) -> None:
    for number, reason in enumerate(SENTENCES):
        old_style_endpoint(query, f"q{number}", "probing", "quarantined", reason=reason)
    old_style_endpoint(query, "serves", "probing", "live", reason="probe_due: no quarantine")
    migrate(servers.postgres.url(old))
    expected = {f"q{number}": (cause, reason) for number, (reason, cause) in enumerate(SENTENCES.items())}
    assert told(query) == expected | {"serves": ("", "probe_due: no quarantine")}
    assert set(SENTENCES.values()) == set(QuarantineCause), "every cause has been migrated"


def test_an_older_release_goes_on_to_write_sentences_beside_this_one(servers: Embedded, old: str, query: Query) -> None:
    migrate(servers.postgres.url(old))
    for number, (reason, cause) in enumerate(SENTENCES.items()):
        name = f"q{number}"
        old_style_endpoint(query, name, "probing", "live", "quarantined", reason=reason)
        assert told(query)[name] == (cause, reason)
        move(query, name, "probing", reason="being tested")
        assert told(query)[name] == ("", "being tested")
    old_style_endpoint(query, "restated", "probing", "quarantined", reason="probe_due: numerics changed")
    restated = "probe_06a1b2c3d4e5f6g7h8j9k0m1n2: in one batch: it differs"
    query(f"UPDATE endpoints SET state_reason = '{restated}' WHERE upstream_model = 'restated'")
    assert told(query)["restated"] == ("probe", restated)


def test_what_this_release_writes_is_not_read_from_its_sentence(servers: Embedded, old: str, query: Query) -> None:
    migrate(servers.postgres.url(old))
    old_style_endpoint(query, "m", "probing")
    columns = "state = 'quarantined', state_reason = 'probe_due: as I said', quarantine_cause = 'operator'"
    query(f"UPDATE endpoints SET {columns}")
    assert told(query) == {"m": ("operator", "probe_due: as I said")}
    query("UPDATE endpoints SET weight = 7, state_reason = 'probe_due: it differs', quarantine_cause = 'probe'")
    assert told(query) == {"m": ("probe", "probe_due: it differs")}


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ("quarantine_cause = 'boredom'", "endpoints_quarantine_cause"),
        ("quarantine_cause = NULL", "endpoints_quarantined_for_a_cause"),
        ("state = 'probing'", "endpoints_quarantined_for_a_cause"),
    ],
)
def test_a_quarantine_has_one_of_the_causes_and_nothing_else_has_any(
    servers: Embedded, old: str, query: Query, columns: str, constraint: str
) -> None:
    migrate(servers.postgres.url(old))
    old_style_endpoint(query, "m", "probing", "quarantined")
    # As it is once no older release runs.
    query("ALTER TABLE endpoints DISABLE TRIGGER endpoints_quarantine_cause")
    with pytest.raises(CannotStart, match=f'violates check constraint "{constraint}"'):
        query(f"UPDATE endpoints SET {columns}")


def test_a_calls_failure_that_quarantines_has_a_cause_that_no_probe_ends_unless_it_is_the_credential() -> None:
    assert set(QUARANTINE_CAUSES) == set(Quarantine.__subclasses__())
    assert not [one for failure in QUARANTINE_CAUSES for one in failure.__subclasses__()]
    recoverable = {failure for failure, cause in QUARANTINE_CAUSES.items() if cause in RECOVERABLE}
    assert recoverable == {CredentialRefused}
    assert QUARANTINE_CAUSES[CredentialRefused] is QuarantineCause.CREDENTIAL_REFUSED
    assert UNDOUBTED < RECOVERABLE
    assert EndpointState.PROBING in MOVES[EndpointState.QUARANTINED]

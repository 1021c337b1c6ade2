"""A key says whether its token ids are those of the called model's own tokenizer: only then are they taken.

Keys that exist keep sending ids as they do, and keys made from now on do not unless somebody says so: the column is
added with the one default and then gets the other, so that no row is rewritten. Older releases, which do not know the
column, run on it unchanged; a key that one of them makes meanwhile sends texts. Nothing is replaced, so nothing is to
be dropped later.

Revision ID: 0012
Revises: 0010
"""

from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE keys ADD COLUMN allow_token_ids boolean NOT NULL DEFAULT true")
    op.execute("ALTER TABLE keys ALTER COLUMN allow_token_ids SET DEFAULT false")
    op.execute(
        "COMMENT ON COLUMN keys.allow_token_ids IS "
        "'Whether its token ids are the called model''s own: else only ids of OpenAI''s clients are taken, by models "
        "with their tokenizer'"
    )

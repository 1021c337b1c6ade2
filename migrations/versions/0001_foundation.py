"""Foundation: the role that the product runs as, and the two trigger functions that tables share.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the whole cluster, so another database's migration may just be making the same one.
ROLE = """
DO $$ BEGIN
    CREATE ROLE gigarouter_app NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gigarouter_app') THEN
            RAISE EXCEPTION 'the user % may not create roles', current_user
                USING HINT = 'Have an administrator run: CREATE ROLE gigarouter_app NOLOGIN';
        END IF;
END $$
"""

# Who migrates may then also become the role; another user that the product logs in as is granted it by hand.
# Two databases migrated at once race for the same catalog row: the lock is taken for the rest of the transaction.
MEMBERSHIP = """
DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('gigarouter_app'));
    IF NOT pg_has_role(current_user, 'gigarouter_app', 'MEMBER') THEN
        EXECUTE format('GRANT gigarouter_app TO %I', current_user);
    END IF;
EXCEPTION
    -- Without it the product runs as its login, and the append-only triggers alone guard the tables.
    WHEN insufficient_privilege THEN RAISE NOTICE 'the user % was not made a member of gigarouter_app', current_user;
END $$
"""

NOTIFY_CHANGE = """
CREATE FUNCTION notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb;
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        changed := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
    END IF;
    PERFORM pg_notify('gigarouter_changed', TG_TABLE_NAME || ':' || coalesce(changed ->> TG_ARGV[0], ''));
    RETURN NULL;
END $$
"""

NOTIFY_CHANGE_SAYS = """
COMMENT ON FUNCTION notify_change() IS
    'AFTER … FOR EACH ROW, argument: the id column. Tells listeners of gigarouter_changed <table>:<id>. '
    'Commits that notify are serialized, so it is for tables that change rarely'
"""

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct it with a new row';
END $$
"""

REFUSE_CHANGE_SAYS = (
    "COMMENT ON FUNCTION refuse_change() IS 'BEFORE UPDATE OR DELETE OR TRUNCATE on append-only tables'"
)


def upgrade() -> None:
    for statement in (ROLE, MEMBERSHIP, NOTIFY_CHANGE, NOTIFY_CHANGE_SAYS, REFUSE_CHANGE, REFUSE_CHANGE_SAYS):
        op.execute(statement)

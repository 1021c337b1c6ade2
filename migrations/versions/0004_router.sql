CREATE TABLE members (
    id uuid PRIMARY KEY,
    account_id uuid REFERENCES accounts (id),
    email text NOT NULL CHECK (email LIKE '_%@_%' AND length(email) <= 254),
    name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    role text NOT NULL CHECK (role IN ('owner', 'developer', 'finance', 'ops', 'finance_admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    CONSTRAINT operators_have_no_account CHECK ((account_id IS NULL) = (role IN ('ops', 'finance_admin')))
)
--;;
COMMENT ON TABLE members IS 'People: of an account (owner, developer, finance), or operators of the whole (ops, finance_admin)'
--;;
COMMENT ON COLUMN members.account_id IS 'Null for an operator'
--;;
COMMENT ON COLUMN members.email IS 'As typed; unique per account without regard to case, among those not removed'
--;;
COMMENT ON COLUMN members.removed_at IS 'Set once; a person who comes back is a new row'
--;;
CREATE UNIQUE INDEX members_email ON members (account_id, lower(email)) NULLS NOT DISTINCT WHERE removed_at IS NULL
--;;
CREATE TABLE keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    handle text NOT NULL UNIQUE CHECK (handle ~ '^[0-9A-Za-z]{8}$'),
    last4 text NOT NULL CHECK (length(last4) = 4),
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    previous_digest bytea UNIQUE CHECK (length(previous_digest) = 32),
    previous_until timestamptz,
    use text NOT NULL CHECK (use IN ('commercial', 'non_commercial', 'research')),
    is_test boolean NOT NULL DEFAULT false,
    models text[] NOT NULL DEFAULT '{}',
    requests_per_minute integer NOT NULL CHECK (requests_per_minute > 0),
    tokens_per_minute integer NOT NULL CHECK (tokens_per_minute > 0),
    concurrency integer NOT NULL CHECK (concurrency > 0),
    cap_nano bigint CHECK (cap_nano BETWEEN 0 AND 9000000000000000),
    cap_period text CHECK (cap_period IN ('total', 'day', 'month')),
    expires_at timestamptz,
    paused boolean NOT NULL DEFAULT false,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((cap_nano IS NULL) = (cap_period IS NULL)),
    CHECK ((previous_digest IS NULL) = (previous_until IS NULL))
)
--;;
COMMENT ON TABLE keys IS 'API keys. The key itself is shown once and is nowhere in here'
--;;
COMMENT ON COLUMN keys.handle IS 'The public part that names the key; stays the same when the secret is rotated'
--;;
COMMENT ON COLUMN keys.digest IS 'SHA-256 of the whole key; 190 random bits need no slow hash'
--;;
COMMENT ON COLUMN keys.previous_digest IS 'The secret before a rotation, which works until previous_until'
--;;
COMMENT ON COLUMN keys.models IS 'The models that the key may use; empty means every model'
--;;
COMMENT ON COLUMN keys.cap_nano IS 'The most the key may spend per cap_period, in nano-USD'
--;;
COMMENT ON COLUMN keys.revoked_at IS 'Final: a revoked key never works again, its usage stays'
--;;
COMMENT ON COLUMN keys.changed_at IS 'By the database clock at each change; serve processes poll for what they did not hear'
--;;
CREATE INDEX keys_account_id ON keys (account_id)
--;;
CREATE INDEX keys_changed ON keys (changed_at)
--;;
CREATE FUNCTION guard_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.account_id <> OLD.account_id OR NEW.is_test <> OLD.is_test OR NEW.handle <> OLD.handle THEN
            RAISE EXCEPTION 'a key never changes its account, its kind or its handle'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
            RAISE EXCEPTION 'key % is revoked, and that is final', OLD.id USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$
--;;
CREATE TRIGGER keys_guard BEFORE INSERT OR UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION guard_key()
--;;
CREATE TABLE providers (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    kind text NOT NULL CHECK (kind IN ('openai', 'litellm', 'worker', 'sandbox')),
    base_url text CHECK (length(base_url) <= 2000),
    sealed bytea,
    credential_hint text,
    options jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((sealed IS NULL) = (credential_hint IS NULL))
)
--;;
COMMENT ON TABLE providers IS 'Who serves models'
--;;
COMMENT ON COLUMN providers.kind IS 'How we speak to it'
--;;
COMMENT ON COLUMN providers.sealed IS
    'Our credential there, encrypted under the secret keys of the settings and bound to this provider and its host'
--;;
COMMENT ON COLUMN providers.credential_hint IS 'What people may see of the credential: its last four characters'
--;;
COMMENT ON COLUMN providers.options IS 'Settings of the kind, nothing secret'
--;;
CREATE TABLE endpoints (
    id uuid PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id),
    provider_id uuid NOT NULL REFERENCES providers (id),
    upstream_model text NOT NULL CHECK (length(upstream_model) BETWEEN 1 AND 300),
    space text NOT NULL,
    state text NOT NULL DEFAULT 'draft'
        CHECK (state IN ('draft', 'probing', 'live', 'draining', 'quarantined', 'off')),
    state_reason text NOT NULL DEFAULT '',
    priority integer NOT NULL DEFAULT 100 CHECK (priority BETWEEN 0 AND 1000000),
    cost_nano_per_mtok bigint NOT NULL CHECK (cost_nano_per_mtok BETWEEN 0 AND 9000000000000),
    asks_base64 boolean NOT NULL DEFAULT true,
    native_input_type boolean NOT NULL DEFAULT false,
    max_batch integer CHECK (max_batch > 0),
    upstream_space text CHECK (length(upstream_space) BETWEEN 1 AND 300),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model_id, provider_id, upstream_model)
)
--;;
COMMENT ON TABLE endpoints IS 'One model at one provider; only live ones get traffic'
--;;
COMMENT ON COLUMN endpoints.space IS 'The vector space that it claims; must be the model''s'
--;;
COMMENT ON COLUMN endpoints.state_reason IS 'Why it stands where it stands, for ops'
--;;
COMMENT ON COLUMN endpoints.priority IS 'Smaller goes first'
--;;
COMMENT ON COLUMN endpoints.cost_nano_per_mtok IS 'What the provider charges us, in nano-USD per million tokens'
--;;
COMMENT ON COLUMN endpoints.asks_base64 IS 'Whether the provider understands encoding_format base64'
--;;
COMMENT ON COLUMN endpoints.upstream_space IS
    'What the provider itself calls the space, where it names one; an answer that names another is never delivered'
--;;
COMMENT ON COLUMN endpoints.native_input_type IS 'Whether the provider has its own notion of query and document'
--;;
COMMENT ON COLUMN endpoints.max_batch IS 'The most inputs in one attempt; null means as many as a call may have'
--;;
CREATE FUNCTION guard_endpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'draft' THEN
            RAISE EXCEPTION 'an endpoint starts as a draft' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('draft', 'probing'), ('draft', 'off'),
        ('probing', 'live'), ('probing', 'quarantined'), ('probing', 'off'),
        ('live', 'draining'), ('live', 'quarantined'), ('live', 'off'),
        ('draining', 'live'), ('draining', 'quarantined'), ('draining', 'off'),
        ('quarantined', 'probing'), ('quarantined', 'off'),
        ('off', 'probing')
    ) THEN
        RAISE EXCEPTION 'endpoint %: no way from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.space IS DISTINCT FROM (SELECT space FROM models WHERE id = NEW.model_id) THEN
        RAISE EXCEPTION 'endpoint %: its space % is not the one of the model %', NEW.id, NEW.space, NEW.model_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$
--;;
CREATE TRIGGER endpoints_guard BEFORE INSERT OR UPDATE ON endpoints FOR EACH ROW EXECUTE FUNCTION guard_endpoint()
--;;
CREATE TABLE audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    action text NOT NULL CHECK (length(action) BETWEEN 1 AND 100),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 300),
    account_id uuid,
    before jsonb,
    after jsonb,
    reason text NOT NULL DEFAULT ''
)
--;;
COMMENT ON TABLE audit IS 'Who changed what, when, in the transaction of the change; append-only'
--;;
COMMENT ON COLUMN audit.actor IS 'Who: cli:<user>, a member''s id, or a process'
--;;
COMMENT ON COLUMN audit.action IS 'What, as <noun>.<verb>: key.create, endpoint.quarantine'
--;;
COMMENT ON COLUMN audit.subject IS 'On what, as its id on the wire'
--;;
COMMENT ON COLUMN audit.before IS 'What the change replaced, without secrets; null for something new'
--;;
CREATE INDEX audit_subject ON audit (subject, at)
--;;
CREATE INDEX audit_account ON audit (account_id, at)
--;;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit EXECUTE FUNCTION refuse_change()
--;;
CREATE TABLE idempotency (
    account_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    operation text NOT NULL,
    body_hash bytea NOT NULL,
    request_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'done')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    status integer,
    headers bytea,
    body bytea,
    PRIMARY KEY (account_id, operation, key),
    CHECK (state = 'running' OR (status IS NOT NULL AND headers IS NOT NULL AND body IS NOT NULL))
)
--;;
COMMENT ON TABLE idempotency IS 'Clients'' Idempotency-Keys: the stored outcome of a call, answered again for 24 h'
--;;
COMMENT ON COLUMN idempotency.request_id IS 'The call that runs or ran under the key'
--;;
COMMENT ON COLUMN idempotency.lease_until IS 'Until when a running call may be believed to run'
--;;
CREATE INDEX idempotency_expires ON idempotency (expires_at)
--;;
CREATE TRIGGER keys_notify AFTER INSERT OR UPDATE OR DELETE ON keys FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TRIGGER providers_notify AFTER INSERT OR UPDATE OR DELETE ON providers
    FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TRIGGER endpoints_notify AFTER INSERT OR UPDATE OR DELETE ON endpoints
    FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
GRANT SELECT, INSERT, UPDATE ON members, keys, providers, endpoints TO gigarouter_app
--;;
GRANT SELECT, INSERT ON audit TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO gigarouter_app

CREATE TABLE models (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._:-]*$' AND length(id) <= 200),
    owned_by text NOT NULL CHECK (length(owned_by) BETWEEN 1 AND 200),
    summary text NOT NULL CHECK (length(summary) BETWEEN 1 AND 1000),
    status text NOT NULL DEFAULT 'coming_soon'
        CHECK (status IN ('coming_soon', 'live', 'deprecated', 'retired')),
    published_on date NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 65536),
    trained_dimensions integer[] NOT NULL DEFAULT '{}' CHECK (0 < ALL (trained_dimensions)),
    only_trained_dimensions boolean NOT NULL DEFAULT false,
    max_input_tokens integer NOT NULL CHECK (max_input_tokens > 0),
    max_input_tokens_ceiling integer CHECK (max_input_tokens_ceiling >= max_input_tokens),
    normalized boolean NOT NULL,
    pooling text NOT NULL CHECK (pooling ~ '^[a-z0-9-]+$'),
    numerics text NOT NULL CHECK (numerics ~ '^[a-z0-9-]+$'),
    tokenizer text,
    vocabulary_size integer CHECK (vocabulary_size > 0),
    special_tokens integer NOT NULL DEFAULT 0 CHECK (special_tokens BETWEEN 0 AND max_input_tokens),
    prompts jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(prompts) = 'object'),
    revision text CHECK (length(revision) BETWEEN 1 AND 200),
    space text NOT NULL CHECK (space ~ '^[!-~]{1,200}$'),
    parameters bigint CHECK (parameters > 0),
    languages text NOT NULL DEFAULT '',
    estimated_nano_per_mtok bigint CHECK (estimated_nano_per_mtok BETWEEN 0 AND 9000000000000),
    estimate_source text,
    estimate_stated_on date,
    estimate_is_list_price boolean NOT NULL DEFAULT false,
    estimate_note text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    seed_digest text CHECK (length(seed_digest) = 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT models_tokenizer_declared_whole CHECK ((tokenizer IS NULL) = (vocabulary_size IS NULL)),
    CONSTRAINT models_estimate_has_source
        CHECK ((estimated_nano_per_mtok IS NULL) = (estimate_source IS NULL)
            AND (estimate_source IS NULL) = (estimate_stated_on IS NULL))
)
--;;
COMMENT ON TABLE models IS 'The catalogue: what can be embedded with, announced and retired models too'
--;;
COMMENT ON COLUMN models.id IS 'org/name, as requests write it'
--;;
COMMENT ON COLUMN models.status IS 'Moves are listed in catalog.lifecycle and in check_model_move()'
--;;
COMMENT ON COLUMN models.dimensions IS 'Width of a vector where a call asks for none'
--;;
COMMENT ON COLUMN models.trained_dimensions IS 'Matryoshka points; empty: the model cannot be shortened'
--;;
COMMENT ON COLUMN models.only_trained_dimensions IS 'No other width may be asked for'
--;;
COMMENT ON COLUMN models.max_input_tokens IS 'Per input, special tokens and prompt included'
--;;
COMMENT ON COLUMN models.max_input_tokens_ceiling IS 'What the architecture could take; not offered'
--;;
COMMENT ON COLUMN models.normalized IS 'Vectors are promised to have length 1'
--;;
COMMENT ON COLUMN models.numerics IS 'Class of the numbers that the weights are computed in, a part of the space'
--;;
COMMENT ON COLUMN models.vocabulary_size IS 'Token ids below it are the tokenizer''s; NULL: token ids are refused'
--;;
COMMENT ON COLUMN models.special_tokens IS 'Added by the tokenizer to each input'
--;;
COMMENT ON COLUMN models.prompts IS 'query, document: the text put before an input'
--;;
COMMENT ON COLUMN models.revision IS 'Pin of the weights: a commit, or a digest of the weight file'
--;;
COMMENT ON COLUMN models.space IS 'Vector space (catalog.spaces); a route never crosses it'
--;;
COMMENT ON COLUMN models.estimated_nano_per_mtok IS 'Shown before the model has a price of ours, never charged'
--;;
COMMENT ON COLUMN models.seed_digest IS 'SHA-256 of the facts as the seed wrote them; other facts are an operator''s'
--;;
CREATE TABLE model_aliases (
    alias text PRIMARY KEY CHECK (alias ~ '^[A-Za-z0-9][A-Za-z0-9._:-]*$' AND length(alias) <= 200),
    model_id text NOT NULL REFERENCES models (id),
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE model_aliases IS 'Other names for a model in a request; without a slash, so never a model''s id'
--;;
CREATE INDEX model_aliases_model_id_idx ON model_aliases (model_id)
--;;
CREATE TABLE license_claims (
    id uuid PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id),
    license text NOT NULL CHECK (license ~ '^[A-Za-z0-9][A-Za-z0-9.+-]*$'),
    source text NOT NULL CHECK (length(source) BETWEEN 1 AND 300),
    evidence text NOT NULL CHECK (length(evidence) BETWEEN 1 AND 1000),
    claimed_on date NOT NULL,
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model_id, license, source)
)
--;;
COMMENT ON TABLE license_claims IS 'What a source says a model''s license is; append-only, all bind until resolved'
--;;
COMMENT ON COLUMN license_claims.license IS 'SPDX id or LicenseRef-…; its terms are in catalog/terms.toml'
--;;
COMMENT ON COLUMN license_claims.claimed_on IS 'The day on which the source was read'
--;;
CREATE TABLE license_resolutions (
    id uuid PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id),
    license text NOT NULL CHECK (license ~ '^[A-Za-z0-9][A-Za-z0-9.+-]*$'),
    settles uuid[] NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    evidence text NOT NULL CHECK (length(evidence) BETWEEN 1 AND 1000),
    decided_by text NOT NULL CHECK (length(decided_by) BETWEEN 1 AND 200),
    decided_at timestamptz NOT NULL
)
--;;
COMMENT ON TABLE license_resolutions IS 'Which license holds, by an operator''s decision; append-only, the newest holds'
--;;
COMMENT ON COLUMN license_resolutions.settles IS 'The claims that were on the table; a later claim binds again'
--;;
CREATE INDEX license_resolutions_model_id_idx ON license_resolutions (model_id, decided_at)
--;;
CREATE TABLE license_waivers (
    id uuid PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id),
    term text NOT NULL CHECK (term IN ('commercial_use', 'non_commercial_use', 'research_use', 'charging', 'derivatives')),
    signer text NOT NULL CHECK (signer IN ('licensor', 'operator')),
    signed_by text NOT NULL CHECK (length(signed_by) BETWEEN 1 AND 200),
    evidence text NOT NULL CHECK (length(evidence) BETWEEN 1 AND 1000),
    signed_at timestamptz NOT NULL,
    expires_at timestamptz CHECK (expires_at > signed_at),
    revoked_at timestamptz,
    revoked_by text,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT license_waivers_revoked_by_someone CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
)
--;;
COMMENT ON TABLE license_waivers IS 'Signed liftings of one license term; only their revocation is ever written later'
--;;
CREATE INDEX license_waivers_model_id_idx ON license_waivers (model_id)
--;;
CREATE TABLE license_acceptances (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    license text NOT NULL,
    text_version text NOT NULL CHECK (length(text_version) BETWEEN 1 AND 100),
    accepted_by text NOT NULL CHECK (length(accepted_by) BETWEEN 1 AND 200),
    accepted_at timestamptz NOT NULL,
    UNIQUE (account_id, license, text_version)
)
--;;
COMMENT ON TABLE license_acceptances IS 'An account''s yes to one version of a license text; append-only'
--;;
COMMENT ON COLUMN license_acceptances.account_id IS 'An account of billing; no foreign key, as billing comes later'
--;;
CREATE TABLE model_events (
    id uuid PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id),
    from_status text NOT NULL,
    to_status text NOT NULL,
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    reason text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL
)
--;;
COMMENT ON TABLE model_events IS 'Every move of a model between its states, by whom and why; append-only'
--;;
CREATE INDEX model_events_model_id_idx ON model_events (model_id, occurred_at)
--;;
CREATE FUNCTION check_model_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'coming_soon' THEN
            RAISE EXCEPTION 'model % must begin as coming_soon, not as %', NEW.id, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('coming_soon', 'live'), ('coming_soon', 'retired'),
        ('live', 'deprecated'), ('live', 'retired'),
        ('deprecated', 'live'), ('deprecated', 'retired'),
        ('retired', 'coming_soon')
    ) THEN
        RAISE EXCEPTION 'model % cannot move from % to %', NEW.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    ELSIF NEW.space <> OLD.space AND OLD.status IN ('live', 'deprecated') THEN
        RAISE EXCEPTION 'model % is served: its vector space cannot change under its customers', NEW.id
            USING ERRCODE = 'check_violation', HINT = 'Other weights are another catalogue entry';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$
--;;
CREATE TRIGGER models_move BEFORE INSERT OR UPDATE ON models FOR EACH ROW EXECUTE FUNCTION check_model_move()
--;;
CREATE FUNCTION check_waiver_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL
        OR (to_jsonb(NEW) - '{revoked_at,revoked_by}'::text[]) <> (to_jsonb(OLD) - '{revoked_at,revoked_by}'::text[]) THEN
        RAISE EXCEPTION 'a waiver can be revoked once and not changed: sign another'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER license_waivers_change BEFORE UPDATE ON license_waivers
    FOR EACH ROW EXECUTE FUNCTION check_waiver_change()
--;;
CREATE TRIGGER license_waivers_append_only BEFORE DELETE OR TRUNCATE ON license_waivers
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER license_claims_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON license_claims
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER license_resolutions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON license_resolutions
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER license_acceptances_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON license_acceptances
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER model_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON model_events
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER models_append_only BEFORE DELETE OR TRUNCATE ON models EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER models_notify AFTER INSERT OR UPDATE ON models FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TRIGGER model_aliases_notify AFTER INSERT OR UPDATE OR DELETE ON model_aliases
    FOR EACH ROW EXECUTE FUNCTION notify_change('model_id')
--;;
CREATE TRIGGER license_claims_notify AFTER INSERT ON license_claims
    FOR EACH ROW EXECUTE FUNCTION notify_change('model_id')
--;;
CREATE TRIGGER license_resolutions_notify AFTER INSERT ON license_resolutions
    FOR EACH ROW EXECUTE FUNCTION notify_change('model_id')
--;;
CREATE TRIGGER license_waivers_notify AFTER INSERT OR UPDATE ON license_waivers
    FOR EACH ROW EXECUTE FUNCTION notify_change('model_id')
--;;
CREATE TRIGGER license_acceptances_notify AFTER INSERT ON license_acceptances
    FOR EACH ROW EXECUTE FUNCTION notify_change('account_id')
--;;
GRANT SELECT, INSERT ON license_claims, license_resolutions, license_acceptances, model_events TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE ON models TO gigarouter_app
--;;
GRANT SELECT, INSERT, DELETE ON model_aliases TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (revoked_at, revoked_by) ON license_waivers TO gigarouter_app

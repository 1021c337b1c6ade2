CREATE TABLE sign_in_codes (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (length(email) <= 254),
    browser_digest bytea NOT NULL CHECK (length(browser_digest) = 32),
    code_digest bytea NOT NULL CHECK (length(code_digest) = 32),
    link_digest bytea NOT NULL UNIQUE CHECK (length(link_digest) = 32),
    tries integer NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 5),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
    used_at timestamptz,
    replaced_at timestamptz
)
--;;
COMMENT ON TABLE sign_in_codes IS 'Codes and links that were mailed to sign in with; deleted a day after they end'
--;;
COMMENT ON COLUMN sign_in_codes.browser_digest IS 'SHA-256 of the secret in the cookie of the browser that wants to sign in: the code works there alone'
--;;
COMMENT ON COLUMN sign_in_codes.code_digest IS 'SHA-256 of that secret and the six digits, which nobody who reads this table can find by trying'
--;;
COMMENT ON COLUMN sign_in_codes.tries IS 'How often a code was typed or the link pressed, before it was compared'
--;;
COMMENT ON COLUMN sign_in_codes.replaced_at IS 'When the same browser wanted a newer one'
--;;
CREATE INDEX sign_in_codes_browser ON sign_in_codes (browser_digest, id)
--;;
CREATE INDEX sign_in_codes_expire ON sign_in_codes (expires_at)
--;;
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    person_id uuid NOT NULL CONSTRAINT sessions_person_id_fkey REFERENCES people (id),
    method text NOT NULL CHECK (method IN ('code', 'link', 'passkey', 'outside')),
    device text NOT NULL CHECK (length(device) <= 200),
    network text NOT NULL CHECK (length(network) <= 50),
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
)
--;;
COMMENT ON TABLE sessions IS 'Who is signed in where; deleted 90 days after its end'
--;;
COMMENT ON COLUMN sessions.digest IS 'SHA-256 of the 256 random bits in the cookie'
--;;
COMMENT ON COLUMN sessions.method IS 'How the person proved who it is: an operator''s rights come with a passkey alone'
--;;
COMMENT ON COLUMN sessions.network IS 'Where from, less exactly than an address: /24 of IPv4, /56 of IPv6'
--;;
COMMENT ON COLUMN sessions.last_seen_at IS 'Written at most once a minute; two weeks after it the session is over'
--;;
CREATE INDEX sessions_person ON sessions (person_id, id)
--;;
CREATE INDEX sessions_expire ON sessions (expires_at)
--;;
CREATE TABLE passkeys (
    id uuid PRIMARY KEY,
    person_id uuid NOT NULL CONSTRAINT passkeys_person_id_fkey REFERENCES people (id),
    credential_id bytea NOT NULL UNIQUE CHECK (length(credential_id) BETWEEN 1 AND 1023),
    public_key bytea NOT NULL CHECK (length(public_key) <= 4096),
    sign_count bigint NOT NULL CHECK (sign_count >= 0),
    is_synced boolean NOT NULL,
    transports text[] NOT NULL DEFAULT '{}',
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    stalled_at timestamptz
)
--;;
COMMENT ON TABLE passkeys IS 'Public keys of people''s passkeys (WebAuthn)'
--;;
COMMENT ON COLUMN passkeys.is_synced IS 'Whether the authenticator says that it keeps a copy elsewhere'
--;;
COMMENT ON COLUMN passkeys.stalled_at IS 'When its counter last failed to grow: noted and not refused, because synced passkeys do not count'
--;;
CREATE INDEX passkeys_person ON passkeys (person_id, id)
--;;
CREATE TABLE passkey_challenges (
    challenge bytea PRIMARY KEY CHECK (length(challenge) = 32),
    browser_digest bytea NOT NULL CHECK (length(browser_digest) = 32),
    purpose text NOT NULL CHECK (purpose IN ('register', 'sign_in')),
    person_id uuid,
    expires_at timestamptz NOT NULL
)
--;;
COMMENT ON TABLE passkey_challenges IS 'What an authenticator is to sign; deleted when it is used, or an hour after it ended'
--;;
CREATE INDEX passkey_challenges_expire ON passkey_challenges (expires_at)
--;;
CREATE TABLE outside_identities (
    id uuid PRIMARY KEY,
    person_id uuid NOT NULL CONSTRAINT outside_identities_person_id_fkey REFERENCES people (id),
    issuer text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 300),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 300),
    email text NOT NULL CHECK (length(email) <= 254),
    browser_digest bytea CHECK (length(browser_digest) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    last_used_at timestamptz,
    UNIQUE (issuer, subject),
    CHECK ((confirmed_at IS NULL) = (browser_digest IS NOT NULL))
)
--;;
COMMENT ON TABLE outside_identities IS 'Who a person is at another service that signs people in'
--;;
COMMENT ON COLUMN outside_identities.confirmed_at IS 'When the person proved by a code that it is them; at once for one who was new'
--;;
COMMENT ON COLUMN outside_identities.browser_digest IS 'The browser in which a code confirms it'
--;;
COMMENT ON COLUMN outside_identities.email IS 'As that service had verified it when it was linked'
--;;
CREATE INDEX outside_identities_person ON outside_identities (person_id)
--;;
CREATE TABLE sign_in_counts (
    bucket bytea NOT NULL CHECK (length(bucket) = 16),
    until timestamptz NOT NULL,
    hits integer NOT NULL,
    PRIMARY KEY (bucket, until)
)
--;;
COMMENT ON TABLE sign_in_counts IS 'How often something was tried in a span of time that ends then; deleted an hour after that'
--;;
COMMENT ON COLUMN sign_in_counts.bucket IS 'The beginning of SHA-256 of what is counted and for whom'
--;;
CREATE INDEX sign_in_counts_until ON sign_in_counts (until)
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_codes, sessions, passkeys, outside_identities, sign_in_counts TO gigarouter_app
--;;
GRANT SELECT, INSERT, DELETE ON passkey_challenges TO gigarouter_app

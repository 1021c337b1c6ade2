CREATE TABLE mails (
    id uuid PRIMARY KEY,
    dedupe text NOT NULL CHECK (length(dedupe) BETWEEN 1 AND 300),
    address text NOT NULL CHECK (length(address) <= 300),
    account_id uuid CONSTRAINT mails_account REFERENCES accounts (id),
    staff text CHECK (staff IN ('ops', 'finance')),
    kind text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    locale text NOT NULL CHECK (length(locale) <= 35),
    zone text NOT NULL CHECK (length(zone) <= 64),
    facts jsonb NOT NULL CHECK (length(facts::text) <= 16000),
    message_id text NOT NULL CHECK (length(message_id) BETWEEN 1 AND 200),
    unsubscribe_id uuid UNIQUE,
    priority smallint NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'split', 'sent', 'failed', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    fault text NOT NULL DEFAULT '',
    run_after timestamptz NOT NULL DEFAULT now(),
    until timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    CONSTRAINT mails_once UNIQUE (dedupe, address),
    CHECK ((state = 'sent') = (sent_at IS NOT NULL)),
    CHECK (address <> '' OR account_id IS NOT NULL OR staff IS NOT NULL),
    CHECK (address = '' OR state <> 'split')
)
--;;
COMMENT ON TABLE mails IS
    'The outbox: a row per mail and address, written with what causes it (dedupe), deleted after 400 days'
--;;
COMMENT ON COLUMN mails.address IS
    'Empty: to the account, or to the staff, whose addresses are found when it is sent; the row is split into one for each'
--;;
COMMENT ON COLUMN mails.run_after IS 'When it is tried next; a jobs process that works on it puts this ahead'
--;;
COMMENT ON COLUMN mails.message_id IS 'What the Message-ID begins with: the same at every try, so that its reader sees it once'
--;;
COMMENT ON COLUMN mails.until IS 'After this it is of no use, and given up'
--;;
CREATE INDEX mails_waiting ON mails (priority, run_after, id) WHERE state = 'waiting'
--;;
CREATE INDEX mails_account ON mails (account_id) WHERE account_id IS NOT NULL
--;;
CREATE TABLE stopped_addresses (
    address text NOT NULL CHECK (address = lower(address) AND length(address) BETWEEN 3 AND 300),
    topic text NOT NULL CHECK (topic ~ '^[a-z_]{1,40}$'),
    reason text NOT NULL CHECK (reason IN ('bounced', 'complained', 'unsubscribed', 'operator')),
    detail text NOT NULL DEFAULT '' CHECK (length(detail) <= 500),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (address, topic)
)
--;;
COMMENT ON TABLE stopped_addresses IS 'The stop list: what nothing is mailed to, or nothing of a topic (all: nothing at all)'
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON mails TO gigarouter_app
--;;
GRANT SELECT, INSERT, DELETE ON stopped_addresses TO gigarouter_app

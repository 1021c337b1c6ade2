CREATE TABLE people (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (email LIKE '_%@_%' AND length(email) <= 254),
    name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    locale text NOT NULL DEFAULT 'en' CHECK (length(locale) BETWEEN 2 AND 35),
    zone text NOT NULL DEFAULT 'UTC' CHECK (length(zone) BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz
)
--;;
COMMENT ON TABLE people IS 'Who signs in: one row per human being, whichever accounts they are members of'
--;;
COMMENT ON COLUMN people.email IS 'As typed, and verified: the person has used a code that was sent there; of an erased one an address that is none'
--;;
COMMENT ON COLUMN people.locale IS 'BCP 47'
--;;
COMMENT ON COLUMN people.zone IS 'IANA name of the time zone that pages and mails show'
--;;
COMMENT ON COLUMN people.erased_at IS 'Set once, with the last account that the person was a member of; what identifies the person is then gone'
--;;
CREATE UNIQUE INDEX people_email ON people (lower(email))
--;;
ALTER TABLE members ADD COLUMN person_id uuid CONSTRAINT members_person_id_fkey REFERENCES people (id)
--;;
COMMENT ON COLUMN members.person_id IS 'Who that is; null: nobody has signed in with the address yet, and whoever does is this member'
--;;
CREATE INDEX members_person ON members (person_id) WHERE person_id IS NOT NULL
--;;
CREATE INDEX members_without_person ON members (lower(email)) WHERE person_id IS NULL AND removed_at IS NULL
--;;
GRANT SELECT, INSERT, UPDATE ON people TO gigarouter_app

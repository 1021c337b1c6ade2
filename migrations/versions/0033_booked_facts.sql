CREATE TABLE IF NOT EXISTS booked_facts (
    source_ref text CONSTRAINT booked_facts_pkey PRIMARY KEY,
    entry_id uuid NOT NULL CONSTRAINT booked_facts_entry_id_key UNIQUE
)
--;;
COMMENT ON TABLE booked_facts IS 'Which entry booked a fact, over all months: the same fact cannot be booked twice'
--;;
COMMENT ON COLUMN booked_facts.source_ref IS 'As the entry has it; a usage entry whose fact is its own id has no row'
--;;
COMMENT ON COLUMN entries.source_ref IS 'The business fact behind the entry: the same fact cannot be booked twice (booked_facts)'
--;;
CREATE OR REPLACE TRIGGER booked_facts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON booked_facts
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT ON booked_facts TO gigarouter_app
--;;
CREATE OR REPLACE FUNCTION book_fact() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO booked_facts (source_ref, entry_id) VALUES (NEW.source_ref, NEW.id);
    RETURN NULL;
END $$
--;;
CREATE OR REPLACE PROCEDURE use_booked_facts() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_tables(ARRAY['entries']);
    CREATE OR REPLACE TRIGGER entries_fact AFTER INSERT ON entries FOR EACH ROW
        WHEN (NEW.kind <> 'usage' OR NEW.source_ref <> 'usage:' || NEW.id::text) EXECUTE FUNCTION book_fact();
    COMMIT;
    INSERT INTO booked_facts (source_ref, entry_id) SELECT source_ref, id FROM entries
    WHERE kind <> 'usage' OR source_ref <> 'usage:' || id ON CONFLICT DO NOTHING;
    COMMIT;
    PERFORM lock_tables(ARRAY['entries']);
    ALTER TABLE entries DROP CONSTRAINT IF EXISTS entries_source_ref_key;
    COMMIT;
END $$

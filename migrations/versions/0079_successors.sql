-- A deprecated or retired model may name the one that takes its place: its page and mails say so. Nothing is replaced.
ALTER TABLE models
    ADD COLUMN successor text CONSTRAINT models_successor_fkey REFERENCES models (id),
    ADD CONSTRAINT models_successor CHECK (successor IS NULL OR (successor <> id AND status IN ('deprecated', 'retired')));
--;;
COMMENT ON COLUMN models.successor IS 'The model that takes its place, since it was deprecated or retired; null: none was named';

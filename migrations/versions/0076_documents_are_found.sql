CREATE TABLE document_words (
    document_id uuid PRIMARY KEY,
    words tsvector NOT NULL
)
--;;
COMMENT ON TABLE document_words IS 'By which words each document is found: derived from it, and made again at will'
--;;
CREATE INDEX document_words_words ON document_words USING gin (words)
--;;
CREATE INDEX documents_by_kind ON documents (kind, id)
--;;
CREATE INDEX documents_by_period ON documents (period, id)
--;;
-- Words without case and marks. Only ASCII separates words, so that the database's locale has no say in it.
CREATE FUNCTION search_words(value text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    SELECT left(word, 100) FROM regexp_split_to_table(
        lower(regexp_replace(normalize(value, NFKD), '[\u0300-\u036f]', '', 'g')), '[\u0001-/:-@\[-`{-\u007f]+'
    ) word WHERE word <> ''
$$
--;;
-- Chinese and Japanese write no spaces: a word is found there from each of its characters on. An amount is one word.
CREATE FUNCTION words_of_document(name text, total_cents bigint, facts jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    WITH found AS (
        SELECT word FROM search_words(concat_ws(' ', name, facts #>> '{draft,buyer,legal_name}',
            facts #>> '{draft,buyer,po_number}')) word
    )
    SELECT array_to_tsvector(array_agg(DISTINCT word)) FROM (
        SELECT word FROM found
        UNION ALL SELECT substr(word, place, 30) FROM found, generate_series(2, least(length(word), 60)) place
            WHERE word ~ '[\u2e80-\uffff]'
        UNION ALL SELECT '=' || to_char(total_cents / 100.0, 'FM9999999999999990.00')
    ) words
$$
--;;
-- Each word of a question begins one of the document's; what may be an amount may be the total, too.
CREATE FUNCTION document_question(value text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    SELECT string_agg('(' || begins || coalesce(' | ' || amount, '') || ')', ' & ')::tsquery
    FROM regexp_split_to_table(value, '\s+') typed
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_literal(word) || ':*', ' & ') AS begins FROM search_words(typed) word
    ) words
    CROSS JOIN LATERAL (
        SELECT CASE WHEN typed ~ '^\d[\d,]{0,20}(\.\d{1,2})?$' THEN quote_literal('=' || to_char(
            replace(typed, ',', '')::numeric, 'FM9999999999999999999990.00')) END AS amount
    ) amounts
    WHERE begins IS NOT NULL
$$
--;;
CREATE FUNCTION note_document_words() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO document_words (document_id, words)
    VALUES (NEW.id, words_of_document(NEW.name, NEW.total_cents, convert_from(NEW.facts, 'UTF8')::jsonb))
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
--;;
CREATE TRIGGER documents_words AFTER INSERT ON documents FOR EACH ROW EXECUTE FUNCTION note_document_words()
--;;
-- The words of documents that were issued before this release, some at a time: jobs call it until none is left.
CREATE FUNCTION fill_document_words(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    WITH missing AS (
        SELECT d.id, d.name, d.total_cents, d.facts FROM documents d
        WHERE NOT EXISTS (SELECT FROM document_words w WHERE w.document_id = d.id) LIMIT most
    ), filled AS (
        INSERT INTO document_words (document_id, words)
        SELECT id, words_of_document(name, total_cents, convert_from(facts, 'UTF8')::jsonb) FROM missing
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT count(*) FROM filled
$$
--;;
GRANT SELECT ON document_words TO gigarouter_app

ALTER TABLE models
    ADD COLUMN updated_on text CONSTRAINT models_updated_on CHECK (updated_on ~ '^\d{4}-\d{2}(-\d{2})?$'),
    ADD COLUMN downloads jsonb CONSTRAINT models_downloads CHECK (jsonb_typeof(downloads) = 'object'),
    ADD COLUMN task text NOT NULL DEFAULT 'embedding' CONSTRAINT models_task CHECK (task ~ '^[a-z0-9-]{1,40}$'),
    ADD COLUMN architecture text CONSTRAINT models_architecture CHECK (length(architecture) BETWEEN 1 AND 200),
    ADD COLUMN language_codes text[] NOT NULL DEFAULT '{}',
    ADD COLUMN programming_languages text[] NOT NULL DEFAULT '{}',
    ADD COLUMN statements jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT models_statements CHECK (jsonb_typeof(statements) = 'array'),
    ADD COLUMN benchmarks jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT models_benchmarks CHECK (jsonb_typeof(benchmarks) = 'array'),
    ADD COLUMN texts jsonb NOT NULL DEFAULT '[]' CONSTRAINT models_texts CHECK (jsonb_typeof(texts) = 'array')
--;;
COMMENT ON COLUMN models.updated_on IS 'Day of the weights'' last change, or month where no day is known'
--;;
COMMENT ON COLUMN models.downloads IS 'Downloads a month, with source and day (catalog.descriptions.Downloads)'
--;;
COMMENT ON COLUMN models.language_codes IS 'Natural languages that are known one by one, BCP 47'
--;;
COMMENT ON COLUMN models.statements IS 'Who states which fact, and in which words (catalog.descriptions.Statement)'
--;;
COMMENT ON COLUMN models.benchmarks IS 'Results with source, day, and who measured (catalog.descriptions.Benchmark)'
--;;
COMMENT ON COLUMN models.texts IS 'Markdown by section of the page, with source and day (catalog.descriptions.Text)'

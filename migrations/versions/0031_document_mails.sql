CREATE TABLE document_mails (
    document_id uuid NOT NULL CONSTRAINT document_mails_document REFERENCES documents (id),
    address text NOT NULL CHECK (length(address) <= 300),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    fault text NOT NULL DEFAULT '',
    run_after timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    PRIMARY KEY (document_id, address),
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
)
--;;
COMMENT ON TABLE document_mails IS
    'To whom an issued document is mailed, and what became of it; has addresses, and is erased with the billing profile'
--;;
COMMENT ON COLUMN document_mails.run_after IS 'When it is tried next; a jobs process that works on it puts this ahead'
--;;
CREATE INDEX document_mails_waiting ON document_mails (run_after) WHERE state = 'waiting'
--;;
GRANT SELECT, INSERT, UPDATE (state, attempts, fault, run_after, sent_at), DELETE ON document_mails TO gigarouter_app

CREATE FUNCTION notice_of(kind text, facts jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'recharge_confirm' THEN jsonb_build_object(
            'subject', format('Confirm the payment of %s USD', facts->>'amount'),
            'sentence', format('The credit of your account fell below %s USD, and your bank wants you to confirm the payment of %s USD by which it is recharged, until %s.', facts->>'threshold', facts->>'amount', facts->>'until'),
            'url', facts->>'url')
        WHEN 'recharge_off' THEN jsonb_build_object(
            'subject', 'Auto-recharge is switched off',
            'sentence', format('Auto-recharge of your account was switched off. %s', facts->>'reason'))
        WHEN 'recharge_ceiling' THEN jsonb_build_object(
            'subject', 'Auto-recharge has reached the most of this month',
            'sentence', format('The credit of your account is below its threshold, and auto-recharge may buy no more in %s: at most %s USD in a month, as you set it.', facts->>'month', facts->>'month_max'))
        WHEN 'spend_alert' THEN jsonb_build_object(
            'subject', format('%s %% of a %s is spent', facts->>'percent', facts->>'what'),
            'sentence', format('%s USD is spent: %s %% of the %s is reached. %s %s', facts->>'spent', facts->>'percent', facts->>'what', facts->>'then', facts->>'until'))
        WHEN 'spend_forecast' THEN jsonb_build_object(
            'subject', format('A %s will not last', facts->>'what'),
            'sentence', format('%s USD is spent. At this pace it will be %s USD by the end of the period, more than the %s. %s', facts->>'spent', facts->>'forecast', facts->>'what', facts->>'until'))
        ELSE jsonb_build_object(
            'subject', format('%s USD of your credit expires on %s', facts->>'amount', facts->>'day'),
            'sentence', format('%s USD of the %s credit of your account expires on %s (UTC), in %s days.', facts->>'amount', facts->>'kind', facts->>'day', facts->>'days'))
    END
$$
--;;
COMMENT ON FUNCTION notice_of(text, jsonb) IS 'What the release before the one outbox would have mailed, as a mail of kind notice'
--;;
CREATE FUNCTION move_account_mail(old account_mails) RETURNS void LANGUAGE sql AS $$
    INSERT INTO mails (id, dedupe, address, account_id, kind, locale, zone, facts, message_id, priority, state, attempts,
        fault, run_after, until, created_at, sent_at)
    VALUES (old.id, old.source_ref, '', old.account_id, 'notice', 'en', 'UTC', notice_of(old.kind, old.facts),
        replace(old.id::text, '-', ''), 1, old.state, old.attempts, old.fault, old.run_after,
        old.created_at + interval '7 days', old.created_at, old.sent_at)
    ON CONFLICT (dedupe, address) DO NOTHING
$$
--;;
CREATE FUNCTION move_document_mail(old document_mails) RETURNS void LANGUAGE sql AS $$
    INSERT INTO mails (id, dedupe, address, account_id, kind, locale, zone, facts, message_id, priority, state, attempts,
        fault, run_after, until, created_at, sent_at)
    SELECT gen_random_uuid(), format('document:%s:%s', replace(old.document_id::text, '-', ''), old.step), old.address,
        d.account_id, 'document', coalesce(convert_from(d.facts, 'UTF8')::jsonb #>> '{draft,buyer,language}', 'en'), 'UTC',
        jsonb_build_object('document', old.document_id, 'step', old.step),
        concat(replace(old.document_id::text, '-', ''), nullif('.' || old.step, '.0'), '.',
            left(encode(convert_to(old.address, 'UTF8'), 'hex'), 64)),
        1, old.state, old.attempts, old.fault, old.run_after, old.created_at + interval '7 days', old.created_at,
        old.sent_at
    FROM documents d WHERE d.id = old.document_id
    ON CONFLICT (dedupe, address) DO UPDATE
        SET state = 'waiting', attempts = 0, fault = '', sent_at = NULL, run_after = EXCLUDED.run_after, until = EXCLUDED.until
        WHERE mails.state <> 'waiting' AND old.step = 0
$$
--;;
COMMENT ON FUNCTION move_document_mail(document_mails) IS
    'Puts a mail of a document into the one outbox; one that was mailed is mailed again where an operator of the release before asks for it'
--;;
LOCK TABLE account_mails, document_mails IN ACCESS EXCLUSIVE MODE
--;;
SELECT count(move_account_mail(old)) FROM account_mails old
--;;
SELECT count(move_document_mail(old)) FROM document_mails old
--;;
DELETE FROM account_mails
--;;
DELETE FROM document_mails
--;;
CREATE FUNCTION redirect_account_mail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM move_account_mail(NEW);
    RETURN NULL;
END
$$
--;;
CREATE FUNCTION redirect_document_mail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM move_document_mail(NEW);
    RETURN NULL;
END
$$
--;;
CREATE TRIGGER account_mails_redirect BEFORE INSERT ON account_mails FOR EACH ROW EXECUTE FUNCTION redirect_account_mail()
--;;
CREATE TRIGGER document_mails_redirect BEFORE INSERT ON document_mails FOR EACH ROW EXECUTE FUNCTION redirect_document_mail()
--;;
COMMENT ON TABLE account_mails IS 'Empty: what the release before writes goes to mails. A later migration drops it'
--;;
COMMENT ON TABLE document_mails IS 'Empty: what the release before writes goes to mails. A later migration drops it'

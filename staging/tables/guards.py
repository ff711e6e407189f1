"""What PostgreSQL itself sees to, whoever connects: the audit's rows are numbered, timed and chained by the database,
and never changed again.

The digest of a row is SHA-256 over its parts as netstrings (`LENGTH:TEXT,`, in this order): number, time (UTC, in
microseconds), actor, action, subject, detail (the JSON text as it stands), reason's digest, digest of the row before.
`staging.audit` works the same out by itself to verify it.
"""

from __future__ import annotations

AUDIT_LOCK = 0x6175646974  # "audit": one row after the other, to the end of the transaction that adds it
FIRST = "0" * 64
"""What stands for the digest of a row before the first."""
_PARTS = (
    "new.id::text",
    """to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "new.actor",
    "new.action",
    "new.subject",
    "new.detail::text",
    "new.reason_digest",
    "new.previous",
)

# The function runs with its owner's rights and without the caller's search path: whoever may only add a row can choose
# neither its number nor its time nor what it follows.
GUARDS = (
    f"""CREATE FUNCTION ops.chain_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE
    part text;
    told text := '';
BEGIN
    PERFORM pg_advisory_xact_lock({AUDIT_LOCK});
    SELECT coalesce(max(id), 0) + 1 INTO new.id FROM ops.audit;
    SELECT digest INTO new.previous FROM ops.audit WHERE id = new.id - 1;
    new.previous := coalesce(new.previous, '{FIRST}');
    new.at := clock_timestamp();
    FOREACH part IN ARRAY ARRAY[{", ".join(_PARTS)}] LOOP
        told := told || octet_length(part) || ':' || part || ',';
    END LOOP;
    new.digest := encode(sha256(convert_to(told, 'UTF8')), 'hex');
    RETURN new;
END $$""",
    "CREATE TRIGGER chain_audit BEFORE INSERT ON ops.audit FOR EACH ROW EXECUTE FUNCTION ops.chain_audit()",
    """CREATE FUNCTION ops.keep_audit() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = 'the audit is append-only: ' || lower(tg_op) || ' is refused',
        ERRCODE = 'insufficient_privilege';
END $$""",
    "CREATE TRIGGER keep_audit BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.audit EXECUTE FUNCTION ops.keep_audit()",
)
"""Statements that follow the tables' own, in order."""

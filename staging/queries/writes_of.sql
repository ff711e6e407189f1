-- Every write a golden record caused, in the order in which they were planned, with what it changed.
select o.id, o.sync_id, o.integration, o.system, o.stream, o.op, o.version, o.source_id, o.state, o.because, o.reason,
       o.fields, {changes} as before, o.asked, o.attempts, o.hold_id, o.created_at, o.released_at, o.settled_at
from ops.outbox o
where o.entity = :entity and o.canonical_id = :id
order by o.id

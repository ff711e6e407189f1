-- Everything open that concerns one golden record, or one of the source records linked to it.
with linked as (
    select system, stream, source_id from ops.crosswalk
    where entity = :entity and canonical_id = :id and ended_at is null
)
select 'review' as queue, r.id, r.opened_at, r.owner, r.because as what
from ops.review r
where r.state = 'open' and r.entity = :entity
  and (r.canonical_id = :id or (r.system, r.stream, r.source_id) in (select * from linked))
union all
select 'finding', f.id, f.opened_at, f.owner, f.kind || coalesce(' of ' || f.field, '') || ': ' || f.because
from ops.finding f
where f.state = 'open' and f.entity = :entity
  and (f.canonical_id = :id or (f.system, f.stream, f.source_id) in (select * from linked))
union all
select 'quarantine', q.id, q.opened_at, q.owner, q.rule || coalesce(' on ' || q.field, '') || ': ' || q.reason
from ops.quarantine q
where q.state = 'open' and (q.entity = :entity or q.entity is null)
  and (q.system, q.stream, q.source_id) in (select * from linked)
union all
select 'dead_letter', d.id, d.opened_at, d.owner, d.reason
from ops.dead_letter d join ops.outbox o on o.id = d.outbox_id
where d.state = 'open' and o.entity = :entity and o.canonical_id = :id
order by 3

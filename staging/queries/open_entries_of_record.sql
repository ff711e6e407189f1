-- Everything open that concerns one source record, whether it is linked to a golden record or not.
select 'review' as queue, r.id, r.opened_at, r.owner, r.because as what
from ops.review r
where r.state = 'open' and r.entity = :entity
  and r.system = :system and r.stream = :stream and r.source_id = :source
union all
select 'quarantine', q.id, q.opened_at, q.owner, q.rule || coalesce(' on ' || q.field, '') || ': ' || q.reason
from ops.quarantine q
where q.state = 'open' and (q.entity = :entity or q.entity is null)
  and q.system = :system and q.stream = :stream and q.source_id = :source
union all
select 'finding', f.id, f.opened_at, f.owner, f.kind || coalesce(' of ' || f.field, '') || ': ' || f.because
from ops.finding f
where f.state = 'open' and f.entity = :entity
  and f.system = :system and f.stream = :stream and f.source_id = :source
order by 3

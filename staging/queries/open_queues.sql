-- What waits for a person: one row for each queue and owner, with its size and its oldest entry's age.
select queue, coalesce(owner, 'nobody') as owner, count(*) as count,
       extract(epoch from now() - min(opened_at))::bigint as oldest_seconds
from (
    select 'quarantine' as queue, owner, opened_at from ops.quarantine where state = 'open'
    union all select 'review', owner, opened_at from ops.review where state = 'open'
    union all select 'hold', owner, opened_at from ops.hold where state = 'open'
    union all select 'finding', owner, opened_at from ops.finding where state = 'open'
    union all select 'dead_letter', owner, opened_at from ops.dead_letter where state = 'open'
    union all select 'incident', owner, opened_at from ops.incident where state = 'open'
) q
group by queue, coalesce(owner, 'nobody')
order by array_position(array['incident', 'dead_letter', 'hold', 'review', 'quarantine', 'finding'], queue), owner

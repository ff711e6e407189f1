-- The last sync of each integration, whether it ran alone or as part of `all`, and when one last ended well.
-- One that was turned away because another was running has no summary: it did not run.
select n.integration,
       l.id, l.integration as ran_as, l.mode, l.state, l.started_at, l.ended_at, l.started_by, l.error, l.flow_run_id,
       extract(epoch from now() - l.heartbeat_at)::bigint as silent_seconds,
       l.summary,
       w.ended_at as last_complete_at
from unnest(cast(:names as text[])) as n (integration)
left join lateral (
    select * from ops.sync s where s.integration in (n.integration, 'all')
      and (s.summary is not null or s.state <> 'failed') order by s.id desc limit 1
) l on true
left join lateral (
    select s.ended_at from ops.sync s
    where s.integration in (n.integration, 'all') and s.state = 'complete' order by s.id desc limit 1
) w on true

-- What has happened to one record, and to the golden record it belongs to, in order: names, states and counts, no value.
-- :source may be null (then only the golden record is told of), :canonical too (then only the source record).
with mine as (
    select cast(:system as text) as system, cast(:stream as text) as stream, cast(:source as text) as source_id
    where cast(:source as text) is not null
), told as (
    select e.started_at as at, 'read from ' || v.system || '/' || v.stream || '/' || v.source_id
           || case when v.deleted then ': gone' else '' end as what
    from mine m join landing.raw_record v using (system, stream, source_id)
    join landing.extract_run e on e.id = v.extract_run_id
    union all
    select q.opened_at, 'quarantined: ' || q.rule || coalesce(' on ' || q.field, '') || ' (entry ' || q.id || ')'
    from mine m join ops.quarantine q using (system, stream, source_id)
    union all
    select q.closed_at, 'entry ' || q.id || ' ' || q.state || ' by ' || q.closed_by || ': ' || q.closed_because
    from mine m join ops.quarantine q using (system, stream, source_id) where q.state <> 'open'
    union all
    select c.linked_at, c.system || '/' || c.stream || '/' || c.source_id || ' linked: ' || c.because
    from ops.crosswalk c where c.entity = :entity and c.canonical_id = :canonical
    union all
    select c.ended_at, c.system || '/' || c.stream || '/' || c.source_id || ' no longer linked: '
           || coalesce(c.ended_because, '')
    from ops.crosswalk c where c.entity = :entity and c.canonical_id = :canonical and c.ended_at is not null
    union all
    select h.at, 'golden record, version ' || h.version from golden.history h
    where h.entity = :entity and h.canonical_id = :canonical
    union all
    select o.created_at, o.op || ' of ' || o.system || '/' || o.stream || ' planned (write ' || o.id || '): ' || o.because
    from ops.outbox o where o.entity = :entity and o.canonical_id = :canonical
    union all
    select a.ended_at, 'write ' || a.outbox_id || ', try ' || a.number || ': ' || a.outcome
           || coalesce(', ' || a.field, '') || coalesce(' (status ' || a.status || ')', '')
    from ops.outbox o join ops.attempt a on a.outbox_id = o.id
    where o.entity = :entity and o.canonical_id = :canonical and a.ended_at is not null
    union all
    select o.settled_at, 'write ' || o.id || ' ' || o.state from ops.outbox o
    where o.entity = :entity and o.canonical_id = :canonical and o.settled_at is not null
    union all
    select d.closed_at, 'dead letter ' || d.id || ' ' || d.state || ' by ' || d.closed_by || ': ' || d.closed_because
    from ops.outbox o join ops.dead_letter d on d.outbox_id = o.id
    where o.entity = :entity and o.canonical_id = :canonical and d.state <> 'open'
)
select at, what from (select at, what from told where at is not null order by at desc, what desc limit :most) latest
order by at, what

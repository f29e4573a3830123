-- Launches that go down a ladder of offerings in one job, every attempt kept, and the memory of what EC2 refused.

alter table spillway.launches
  -- The offerings that are still to be tried, the next one first; see LadderRung in src/model/launch.ts.
  add column ladder jsonb not null default '[]',
  -- Resources of one machine of the current attempt.
  add column cpu_milli integer,
  add column memory_mib integer,
  -- Hash of the policy that asked for it: a hold after a refusal lasts at most until the policy changes.
  add column policy_hash text check (policy_hash ~ '^[0-9a-f]{64}$');

-- Every attempt that a launch ever made, with the token that EC2 may still show on an instance and the body it was asked with.
create table spillway.launch_attempts (
  launch_id   text not null references spillway.launches (id),
  attempt     integer not null check (attempt >= 1),
  token       text not null unique check (length(token) <= 64),
  body        jsonb not null,
  zone        text not null,
  cpu_milli   integer,
  memory_mib  integer,
  price_usd_per_hour numeric(12, 6) not null check (price_usd_per_hour >= 0),
  epoch       bigint not null,
  began_at    timestamptz not null default spillway.now(),
  ended_at    timestamptz,
  -- How it ended; null while it is the current attempt of an open launch.
  outcome     text check (outcome in ('fulfilled', 'partial', 'refused', 'expired')),
  error_class text,
  error_code  text,
  error_detail text,
  primary key (launch_id, attempt),
  constraint launch_attempts_ended check ((ended_at is null) = (outcome is null))
);

insert into spillway.launch_attempts
  (launch_id, attempt, token, body, zone, price_usd_per_hour, epoch, began_at, ended_at, outcome, error_code, error_detail)
select id, attempt, token, body, zone, price_usd_per_hour, epoch, created_at,
       case when state <> 'open' then spillway.now() end,
       case when state <> 'open' then state end,
       error_code, error_detail
from spillway.launches;

-- What EC2 was asked for never changes: only its outcome is written, once.
create function spillway.refuse_changed_attempt() returns trigger language plpgsql as $$
begin
  if (new.launch_id, new.attempt, new.token, new.body, new.zone, new.price_usd_per_hour, new.epoch)
     is distinct from (old.launch_id, old.attempt, old.token, old.body, old.zone, old.price_usd_per_hour, old.epoch)
     or (old.outcome is not null and new.outcome is distinct from old.outcome) then
    raise exception 'attempt % of launch % cannot change', old.attempt, old.launch_id using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger launch_attempts_immutable before update on spillway.launch_attempts
  for each row execute function spillway.refuse_changed_attempt();
create trigger launch_attempts_kept before delete on spillway.launch_attempts
  for each row execute function spillway.refuse_change();

-- The row of a launch shows its current attempt. Another token or body is another attempt, and each is kept, whoever writes it.
create function spillway.keep_attempt() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and new.attempt = old.attempt then
    if (new.token, new.body, new.zone, new.price_usd_per_hour) is distinct from (old.token, old.body, old.zone, old.price_usd_per_hour) then
      raise exception 'launch % changed what it asks for without a new attempt', old.id using errcode = 'restrict_violation';
    end if;
    return new;
  end if;
  insert into spillway.launch_attempts
    (launch_id, attempt, token, body, zone, cpu_milli, memory_mib, price_usd_per_hour, epoch, began_at)
  values
    (new.id, new.attempt, new.token, new.body, new.zone, new.cpu_milli, new.memory_mib, new.price_usd_per_hour, new.epoch, spillway.now());
  return new;
end $$;
create trigger launches_keep_attempt after insert or update on spillway.launches
  for each row execute function spillway.keep_attempt();

-- The class of a refusal, and the instances of an answer: also of one that came when nobody waited for it any more.
alter table spillway.launch_calls
  add column error_class text,
  add column instance_ids text[] not null default '{}';

-- What is not asked of EC2 for a while, because it was refused. Past `until` one launch of one machine may try again.
create table spillway.launch_holds (
  scope       text not null check (scope in ('offering', 'subnet', 'quota', 'region', 'workload')),
  name        text not null,
  error_class text not null,
  error_code  text not null,
  detail      text not null,
  since       timestamptz not null default spillway.now(),
  -- Null: until the policy changes.
  until       timestamptz,
  strikes     integer not null default 1 check (strikes >= 1),
  policy_hash text,
  -- The launch that tries again; it does so while it is open.
  probe_launch_id text references spillway.launches (id),
  primary key (scope, name)
);

-- At most half an hour of memory: what is still short will be refused, and held, again.
drop table spillway.unavailable_offerings;

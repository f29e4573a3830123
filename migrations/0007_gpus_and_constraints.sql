-- GPUs wherever resources are kept, and where tasks may run: architecture, never in the cloud, never on the spot market.

alter table spillway.tasks
  add column gpus integer not null default 0 check (gpus >= 0),
  -- Null = any.
  add column arch text check (arch in ('x86_64', 'arm64')),
  add column local_only boolean not null default false,
  add column spot_ok boolean not null default true,
  -- How long it is expected to run, as its submitter says; null = not said.
  add column run_time_s integer check (run_time_s > 0);
drop index spillway.tasks_pending;
create index tasks_pending on spillway.tasks (workload, cpu_milli, memory_mib, gpus, submitted_at) where state = 'pending';

alter table spillway.agents
  add column capacity_gpus integer not null default 0 check (capacity_gpus >= 0),
  -- Null = the agent does not say.
  add column arch text check (arch in ('x86_64', 'arm64'));
alter table spillway.samples
  add column allocated_gpus integer not null default 0 check (allocated_gpus >= 0);

-- Architectures are null in what was launched before this file.
alter table spillway.machines
  add column gpus integer not null default 0 check (gpus >= 0),
  add column arch text check (arch in ('x86_64', 'arm64'));
alter table spillway.launches
  add column gpus integer not null default 0 check (gpus >= 0),
  add column arch text check (arch in ('x86_64', 'arm64'));
alter table spillway.launch_attempts
  add column gpus integer not null default 0 check (gpus >= 0),
  add column arch text check (arch in ('x86_64', 'arm64'));

-- Open launches may still go down a ladder that was written without GPUs and architectures.
update spillway.launches l
set ladder = (
  select jsonb_agg('{"arch": null}' || jsonb_set(rung, '{resources}', '{"gpus": 0}' || (rung -> 'resources')) order by place)
  from jsonb_array_elements(l.ladder) with ordinality as r(rung, place))
where l.state = 'open' and jsonb_array_length(l.ladder) > 0;

create or replace function spillway.keep_attempt() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and new.attempt = old.attempt then
    if (new.token, new.body, new.zone, new.price_usd_per_hour) is distinct from (old.token, old.body, old.zone, old.price_usd_per_hour) then
      raise exception 'launch % changed what it asks for without a new attempt', old.id using errcode = 'restrict_violation';
    end if;
    return new;
  end if;
  insert into spillway.launch_attempts
    (launch_id, attempt, token, body, zone, cpu_milli, memory_mib, gpus, arch, price_usd_per_hour, epoch, began_at)
  values
    (new.id, new.attempt, new.token, new.body, new.zone, new.cpu_milli, new.memory_mib, new.gpus, new.arch, new.price_usd_per_hour,
     new.epoch, spillway.now());
  return new;
end $$;

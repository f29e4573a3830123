-- Spillway's tables. Forward only: a later file changes what an earlier one made.
-- Time comes from spillway.now() alone, so that a test can replace the clock by replacing one function.

create schema if not exists spillway;

create function spillway.now() returns timestamptz
  language sql volatile parallel safe
  as $$ select pg_catalog.clock_timestamp() $$;
comment on function spillway.now() is 'The only clock of the database. Simulation replaces its body.';

-- What this installation is: one row per key.
create table spillway.installation (
  key         text primary key check (key ~ '^[a-z][a-z0-9_]{0,62}$'),
  value       text not null,
  created_at  timestamptz not null default spillway.now()
);

-- One row per role that only one process may hold. The epoch fences whoever held it before.
create table spillway.leases (
  name        text primary key,
  holder      text not null,
  epoch       bigint not null check (epoch > 0),
  expires_at  timestamptz not null
);

-- Every policy ever seen, so that machines of a removed or changed policy can still be explained and drained.
create table spillway.policies (
  workload    text not null,
  hash        text not null check (hash ~ '^[0-9a-f]{64}$'),
  document    jsonb not null,
  first_seen_at timestamptz not null default spillway.now(),
  active      boolean not null default true,
  primary key (workload, hash)
);
create unique index policies_one_active on spillway.policies (workload) where active;

create table spillway.plans (
  id          text primary key check (id ~ '^pl-[0-9a-z]{12}$'),
  epoch       bigint not null,
  decided_at  timestamptz not null,
  input       jsonb not null,
  outcome     jsonb not null,
  -- Equal digests in a row are not stored again: a quiet night leaves one plan, not ten thousand.
  digest      text not null
);
create index plans_decided_at on spillway.plans (decided_at);

create table spillway.launches (
  id          text primary key check (id ~ '^ln-[0-9a-z]{12}$'),
  plan_id     text not null references spillway.plans (id),
  workload    text not null,
  state       text not null check (state in ('open', 'fulfilled', 'refused', 'expired')),
  nonce       text not null unique check (nonce ~ '^[0-9a-f]{32}$'),
  attempt     integer not null check (attempt >= 1),
  token       text not null unique check (length(token) <= 64),
  body        jsonb not null,
  zone        text not null,
  instance_count integer not null check (instance_count between 1 and 100),
  price_usd_per_hour numeric(12, 6) not null check (price_usd_per_hour >= 0),
  epoch       bigint not null,
  created_at  timestamptz not null default spillway.now(),
  deadline_at timestamptz not null,
  wake_at     timestamptz not null default spillway.now(),
  error_code  text,
  error_detail text
);
create index launches_open on spillway.launches (wake_at) where state = 'open';
create index launches_workload_created on spillway.launches (workload, created_at);

-- One row per RunInstances call, written before the call is made.
create table spillway.launch_calls (
  id          bigint generated always as identity primary key,
  launch_id   text not null references spillway.launches (id),
  attempt     integer not null,
  started_at  timestamptz not null default spillway.now(),
  finished_at timestamptz,
  outcome     text check (outcome in ('launched', 'refused', 'throttled', 'unknown')),
  error_code  text,
  constraint launch_calls_finished check ((finished_at is null) = (outcome is null))
);
create index launch_calls_launch on spillway.launch_calls (launch_id);

-- Every heartbeat rewrites the row: room on the page keeps that update off the indexes (HOT).
create table spillway.agents (
  id          text primary key check (id ~ '^ag-[0-9a-z]{12}$'),
  name        text not null check (length(name) between 1 and 253),
  site        text not null check (site in ('on-prem', 'aws')),
  labels      jsonb not null default '{}',
  token_hash  text not null unique check (token_hash ~ '^[0-9a-f]{64}$'),
  machine_id  text,
  capacity_cpu_milli  integer not null check (capacity_cpu_milli >= 0),
  capacity_memory_mib integer not null check (capacity_memory_mib >= 0),
  used_cpu_milli      integer check (used_cpu_milli >= 0),
  used_memory_mib     integer check (used_memory_mib >= 0),
  running_tasks integer not null default 0 check (running_tasks >= 0),
  cordoned    boolean not null default false,
  cordon_generation       bigint not null default 0,
  cordon_acked_generation bigint not null default 0,
  -- When the report arrived that first echoed the newest cordon.
  cordon_acked_at timestamptz,
  boot_id     text,
  -- Boots that were replaced, newest first: whoever reports with one of them (a clone, a process believed dead) is told so.
  earlier_boots text[] not null default '{}',
  seq         bigint not null default 0,
  registered_at timestamptz not null default spillway.now(),
  last_seen_at timestamptz,
  -- Its last report was a goodbye: it is not silent, it is away, until it reports again.
  left_at     timestamptz,
  removed_at  timestamptz,
  constraint agents_machine_only_on_aws check ((site = 'aws') = (machine_id is not null))
) with (fillfactor = 50);
create unique index agents_one_per_machine on spillway.agents (machine_id) where machine_id is not null and removed_at is null;

create table spillway.machines (
  id          text primary key check (id ~ '^mc-[0-9a-z]{12}$'),
  launch_id   text not null references spillway.launches (id),
  plan_id     text not null references spillway.plans (id),
  workload    text not null,
  state       text not null check (state in
    ('requested', 'launching', 'booting', 'joining', 'ready', 'draining', 'leaving', 'terminating', 'terminated')),
  revision    integer not null default 1,
  instance_type text not null,
  cpu_milli   integer not null,
  memory_mib  integer not null,
  zone        text not null,
  market      text not null check (market in ('on-demand', 'spot')),
  volume_gib  integer not null check (volume_gib >= 0),
  price_usd_per_hour numeric(12, 6) not null,
  created_at  timestamptz not null default spillway.now(),
  state_since timestamptz not null default spillway.now(),
  deadline_at timestamptz,
  wake_at     timestamptz not null default spillway.now(),
  instance_id text unique,
  private_ip  inet,
  -- What EC2 was last seen to say, written by the observer.
  observed_state text,
  observed_at timestamptz,
  launch_time timestamptz,
  -- Bounds of the moment billing began: last seen pending, first seen running.
  pending_seen_at timestamptz,
  running_seen_at timestamptz,
  ended_at    timestamptz,
  end_code    text,
  charged_through timestamptz,
  host_key    text,
  agent_id    text references spillway.agents (id),
  idle_since  timestamptz,
  -- When recipe and agent were last installed; a machine whose agent stays away is installed again, not at every look.
  installed_at timestamptz,
  -- True once a hook or a kill touched work: such a drain cannot be called off.
  drain_irrevocable boolean not null default false,
  -- Complete listings in a row that did not show the instance: absence counts only after several.
  missing_listings integer not null default 0,
  end_reason  text,
  end_detail  text
);
alter table spillway.agents
  add constraint agents_machine foreign key (machine_id) references spillway.machines (id);
create index machines_live on spillway.machines (wake_at) where state <> 'terminated';
create index machines_workload on spillway.machines (workload) where state <> 'terminated';
create index machines_launch on spillway.machines (launch_id);
create index machines_uncharged on spillway.machines (id)
  where launch_time is not null and (ended_at is null or charged_through is null or charged_through < ended_at);

-- The same table of transitions as src/model/machine.ts; a test compares them.
create table spillway.machine_transitions (
  from_state  text not null,
  to_state    text not null,
  primary key (from_state, to_state)
);
insert into spillway.machine_transitions (from_state, to_state) values
  ('requested', 'launching'), ('requested', 'terminated'),
  ('launching', 'booting'), ('launching', 'terminated'),
  ('booting', 'joining'), ('booting', 'terminating'), ('booting', 'terminated'),
  ('joining', 'ready'), ('joining', 'terminating'), ('joining', 'terminated'),
  ('ready', 'draining'), ('ready', 'terminating'), ('ready', 'terminated'),
  ('draining', 'ready'), ('draining', 'leaving'), ('draining', 'terminating'), ('draining', 'terminated'),
  ('leaving', 'terminating'), ('leaving', 'terminated'),
  ('terminating', 'terminated');

create function spillway.refuse_illegal_transition() returns trigger language plpgsql as $$
begin
  if new.state <> old.state then
    if not exists (select 1 from spillway.machine_transitions t where t.from_state = old.state and t.to_state = new.state) then
      raise exception 'machine % cannot go from % to %', old.id, old.state, new.state using errcode = 'check_violation';
    end if;
    if new.revision <> old.revision + 1 then
      raise exception 'machine % changed state without a new revision', old.id using errcode = 'check_violation';
    end if;
  end if;
  return new;
end $$;
create trigger machines_legal_transition before update of state on spillway.machines
  for each row execute function spillway.refuse_illegal_transition();

create function spillway.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'table % is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

create table spillway.machine_events (
  id          bigint generated always as identity primary key,
  machine_id  text not null references spillway.machines (id),
  at          timestamptz not null default spillway.now(),
  from_state  text,
  to_state    text not null,
  actor       text not null,
  reason      text not null,
  plan_id     text,
  detail      jsonb not null default '{}'
);
create index machine_events_machine on spillway.machine_events (machine_id, id);
create index machine_events_drains on spillway.machine_events (at) where to_state = 'draining';
create trigger machine_events_append_only before update or delete on spillway.machine_events
  for each row execute function spillway.refuse_change();

-- One-time tokens with which an agent may register. Only hashes are kept.
create table spillway.enrolments (
  token_hash  text primary key check (token_hash ~ '^[0-9a-f]{64}$'),
  site        text not null check (site in ('on-prem', 'aws')),
  machine_id  text references spillway.machines (id),
  labels      jsonb not null default '{}',
  created_at  timestamptz not null default spillway.now(),
  expires_at  timestamptz not null,
  used_at     timestamptz,
  agent_id    text references spillway.agents (id)
);
create index enrolments_machine on spillway.enrolments (machine_id) where machine_id is not null;

create table spillway.samples (
  agent_id    text not null references spillway.agents (id),
  at          timestamptz not null,
  used_cpu_milli       integer,
  used_memory_mib      integer,
  allocated_cpu_milli  integer not null,
  allocated_memory_mib integer not null,
  running_tasks        integer not null,
  primary key (agent_id, at)
);
create index samples_at on spillway.samples using brin (at);

-- Every heartbeat renews the leases of running tasks; see agents.
create table spillway.tasks (
  id          text primary key check (id ~ '^tk-[0-9a-z]{12}$'),
  workload    text not null,
  command     jsonb not null,
  cpu_milli   integer not null check (cpu_milli > 0),
  memory_mib  integer not null check (memory_mib >= 0),
  state       text not null check (state in ('pending', 'leased', 'running', 'done', 'failed', 'cancelled')),
  attempt     integer not null default 0,
  agent_id    text references spillway.agents (id),
  -- BullMQ's lock token of the lease: whoever renews the lock must know it. It opens nothing else.
  lease_token text,
  lease_expires_at timestamptz,
  submitted_at timestamptz not null default spillway.now(),
  -- When it last became pending: by submission, or because its agent fell silent.
  pending_since timestamptz not null default spillway.now(),
  started_at  timestamptz,
  finished_at timestamptz,
  exit_code   integer,
  -- What the task last wrote into its progress file, as base64: bytes come back as they were written.
  progress_base64 text check (octet_length(progress_base64) <= 4096)
) with (fillfactor = 50);
create index tasks_pending on spillway.tasks (workload, cpu_milli, memory_mib, submitted_at) where state = 'pending';
create index tasks_held on spillway.tasks (agent_id) where state in ('leased', 'running');
create index tasks_recent on spillway.tasks (submitted_at);

create table spillway.task_logs (
  task_id     text not null references spillway.tasks (id),
  attempt     integer not null,
  byte_offset bigint not null check (byte_offset >= 0),
  content     bytea not null check (octet_length(content) <= 65536),
  primary key (task_id, attempt, byte_offset)
);

create table spillway.spot_prices (
  instance_type text not null,
  zone        text not null,
  at          timestamptz not null,
  price_usd_per_hour numeric(12, 6) not null,
  primary key (instance_type, zone, at)
);

create table spillway.charges (
  id          bigint generated always as identity primary key,
  machine_id  text not null references spillway.machines (id),
  workload    text not null,
  kind        text not null check (kind in ('compute', 'volume', 'ipv4')),
  instance_type text not null,
  market      text not null,
  zone        text not null,
  from_at     timestamptz not null,
  to_at       timestamptz not null,
  quantity_seconds bigint not null check (quantity_seconds >= 0),
  unit_price_usd_per_hour numeric(18, 9) not null,
  amount_usd  numeric(18, 9) not null,
  price_source text not null,
  recorded_at timestamptz not null default spillway.now(),
  constraint charges_interval check (from_at <= to_at),
  -- The promise that no second is charged twice: one charge of a kind begins where the one before ended.
  unique (machine_id, kind, from_at)
);
create index charges_from on spillway.charges (from_at);
create trigger charges_append_only before update or delete on spillway.charges
  for each row execute function spillway.refuse_change();

-- Offerings that EC2 refused for want of capacity, and until when they are left alone.
create table spillway.unavailable_offerings (
  instance_type text not null,
  zone        text not null,
  market      text not null,
  until       timestamptz not null,
  strikes     integer not null default 1,
  error_code  text not null,
  primary key (instance_type, zone, market)
);

-- Instances of ours without a live row: seen once, looked at again, then ended.
create table spillway.sweep_marks (
  instance_id text primary key,
  reason      text not null check (reason in ('no-row', 'row-ended')),
  first_seen_at timestamptz not null default spillway.now(),
  complete_listings integer not null default 1
);

-- What an operator says of a machine, and what a drain knows of itself: the row remembers both over every restart.

-- No decision of Spillway's own lets a protected machine go. By an operator, until a time or for good, and apart from that by
-- the tag that the instance bears in EC2.
alter table spillway.machines
  add column protected_at timestamptz,
  add column protected_until timestamptz,
  add column protected_by text check (length(protected_by) <= 100),
  add column protected_reason text check (length(protected_reason) <= 500),
  add column tag_protected boolean not null default false,
  add constraint machines_protection check (protected_at is not null
    or (protected_until is null and protected_by is null and protected_reason is null));

-- How often the deadline of the drain that is under way was moved, the hook that runs now, and how the last one failed.
alter table spillway.machines
  add column drain_extensions integer not null default 0 check (drain_extensions >= 0),
  add column hook text,
  add column hook_since timestamptz,
  add column hook_error text check (length(hook_error) <= 500),
  -- What of the drain that is under way was done for good: turn, health, checkpoint.
  add column drain_done text[] not null default '{}',
  add constraint machines_hook check ((hook is null) = (hook_since is null));

-- When EC2 takes the instance back, as it said.
alter table spillway.machines add column interrupted_at timestamptz;

-- The breaker of joins is a hold like those of refusals: of one type with one image of one workload under one policy.
alter table spillway.launch_holds
  drop constraint launch_holds_scope_check,
  add constraint launch_holds_scope_check check (scope in ('offering', 'subnet', 'quota', 'region', 'workload', 'join'));

-- What recipe, hooks and console of a machine said: the newest 256 KiB of each machine.
create table spillway.machine_output (
  machine_id  text not null references spillway.machines (id),
  id          bigint generated always as identity,
  at          timestamptz not null default spillway.now(),
  phase       text not null check (length(phase) <= 40),
  -- Null: it died by a signal, or there is no such thing.
  exit_code   integer,
  -- How often the same was said in a row; `at` is the last time.
  times       integer not null default 1 check (times >= 1),
  content     text not null check (octet_length(content) <= 65536),
  primary key (machine_id, id)
);

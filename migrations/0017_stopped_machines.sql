-- Machines that are stopped instead of terminated and started again instead of a launch.
alter table spillway.machine_transitions disable trigger machine_transitions_fixed;
insert into spillway.machine_transitions (from_state, to_state) values
  ('booting', 'stopped'),
  ('leaving', 'stopping'),
  ('stopping', 'stopped'), ('stopping', 'booting'), ('stopping', 'terminating'), ('stopping', 'terminated'),
  ('stopped', 'booting'), ('stopped', 'terminating'), ('stopped', 'terminated')
  on conflict do nothing;
alter table spillway.machine_transitions enable trigger machine_transitions_fixed;

alter table spillway.machines
  drop constraint machines_state_check,
  add constraint machines_state_check check (state in ('requested', 'launching', 'booting', 'joining', 'ready', 'draining', 'leaving',
    'stopping', 'stopped', 'terminating', 'terminated')),
  -- The run that it is in, or was in last: from a start to the stop or end that follows. EC2's LaunchTime tells runs apart;
  -- launch_time stays that of the first. What is seen of a run (pending_seen_at, running_seen_at) is of this one.
  add column run integer not null default 1 check (run >= 1),
  add column run_launch_time timestamptz,
  -- When EC2 began to stop it; null while it runs.
  add column stopped_at timestamptz,
  -- EC2 was asked to stop or start it, or will be by whoever wrote this: nobody else asks before.
  add column power_again_at timestamptz;
update spillway.machines set run_launch_time = launch_time where launch_time is not null;

-- Runs that are over while the machine lives on.
create table spillway.machine_runs (
  machine_id      text not null references spillway.machines (id),
  run             integer not null check (run >= 1),
  launch_time     timestamptz,
  pending_seen_at timestamptz,
  running_seen_at timestamptz,
  stopped_at      timestamptz not null,
  primary key (machine_id, run)
);
create trigger machine_runs_append_only before update or delete on spillway.machine_runs
  for each row execute function spillway.refuse_change();

-- Two runs may be charged from the same moment: the minimum of one reaches into the next.
alter table spillway.charges
  add column run integer not null default 1,
  drop constraint charges_machine_id_kind_from_at_key,
  add constraint charges_once unique (machine_id, kind, run, from_at);

-- A start begins anew: what its idleness costs is counted from it.
create or replace function spillway.note_start() returns trigger language plpgsql as $$
begin
  if new.state = 'booting' then
    new.started_at := spillway.now();
    new.first_ready_at := null;
  elsif new.state = 'ready' then
    -- Back from a drain is no start.
    new.first_ready_at := coalesce(new.first_ready_at, spillway.now());
  end if;
  return new;
end $$;

-- Starts count as launches within the hour.
create index machine_events_starts on spillway.machine_events (at) where from_state = 'stopped' and to_state = 'booting';

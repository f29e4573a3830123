-- The history of machines cannot lie: a change of state commits only with its one event, an event only with its change,
-- whoever writes. And one trace id leads from a plan to everything that came of it.

-- Trace ids as in W3C trace context, made with the plan. What is older gets one that is made of its plan's id.
alter table spillway.plans add column trace_id text;
alter table spillway.launches add column trace_id text;
alter table spillway.machines add column trace_id text;
update spillway.plans set trace_id = md5(id);
update spillway.launches set trace_id = md5(plan_id);
update spillway.machines set trace_id = md5(plan_id);
alter table spillway.plans
  alter column trace_id set not null,
  add constraint plans_trace_id check (trace_id ~ '^[0-9a-f]{32}$' and trace_id <> repeat('0', 32));
-- The defaults of columns that triggers fill are refused by their checks: they only say that no writer names the column.
alter table spillway.launches
  alter column trace_id set default '', alter column trace_id set not null,
  add constraint launches_trace_id check (trace_id ~ '^[0-9a-f]{32}$');
alter table spillway.machines
  alter column trace_id set default '', alter column trace_id set not null,
  add constraint machines_trace_id check (trace_id ~ '^[0-9a-f]{32}$');

create function spillway.take_trace_of_plan() returns trigger language plpgsql as $$
begin
  new.trace_id := (select p.trace_id from spillway.plans p where p.id = new.plan_id);
  if new.trace_id is null then
    raise exception 'plan % of % % is not known', new.plan_id, tg_table_name, new.id using errcode = 'foreign_key_violation';
  end if;
  return new;
end $$;
create trigger launches_trace before insert on spillway.launches
  for each row execute function spillway.take_trace_of_plan();
create trigger machines_trace before insert on spillway.machines
  for each row execute function spillway.take_trace_of_plan();

-- An event carries the revision of the machine that it tells of, and the plan and trace of the decision that it carries out.
alter table spillway.machine_events add column revision integer, add column trace_id text;
alter table spillway.machine_events disable trigger machine_events_append_only;
update spillway.machine_events e set plan_id = m.plan_id
  from spillway.machines m where m.id = e.machine_id and e.plan_id is null;
update spillway.machine_events e set trace_id = md5(e.plan_id), revision = counted.revision
  from (select id, count(*) filter (where from_state is distinct from to_state) over (partition by machine_id order by id) as revision
        from spillway.machine_events) counted
  where counted.id = e.id;
alter table spillway.machine_events enable trigger machine_events_append_only;
alter table spillway.machine_events
  alter column plan_id set default '', alter column plan_id set not null,
  add constraint machine_events_plan_id check (plan_id ~ '^pl-[0-9a-z]{12}$'),
  alter column trace_id set default '', alter column trace_id set not null,
  add constraint machine_events_trace_id check (trace_id ~ '^[0-9a-f]{32}$'),
  alter column revision set default 0, alter column revision set not null,
  add constraint machine_events_revision check (revision >= 0);
-- At most one event per change of state; an event without one (a longer deadline) shares its revision.
create unique index machine_events_one_per_change on spillway.machine_events (machine_id, revision)
  where from_state is distinct from to_state;

-- Before insert: an event must tell of the state that the machine is in, and of a way there that is legal.
create function spillway.complete_machine_event() returns trigger language plpgsql as $$
declare
  machine record;
  newest record;
begin
  select m.state, m.revision, m.plan_id, m.trace_id into machine from spillway.machines m where m.id = new.machine_id;
  if not found then
    raise exception 'machine % is not known', new.machine_id using errcode = 'foreign_key_violation';
  end if;
  if new.to_state <> machine.state then
    raise exception 'machine % is %, its event says %', new.machine_id, machine.state, new.to_state using errcode = 'check_violation';
  end if;
  -- A machine begins as an intent. Only one that is written down after its instance (the row was lost and EC2 still has it)
  -- begins elsewhere, and its first event says so by its reason.
  if new.from_state is null and new.to_state <> 'requested' and new.reason <> 'rebuilt' then
    raise exception 'machine % cannot begin as %', new.machine_id, new.to_state using errcode = 'check_violation';
  end if;
  if new.from_state <> new.to_state and not exists (
    select 1 from spillway.machine_transitions t where t.from_state = new.from_state and t.to_state = new.to_state) then
    raise exception 'machine % cannot go from % to %', new.machine_id, new.from_state, new.to_state using errcode = 'check_violation';
  end if;
  new.revision := machine.revision;
  if new.plan_id <> '' then
    new.trace_id := (select p.trace_id from spillway.plans p where p.id = new.plan_id);
  else
    -- A step carries out what was decided last.
    select e.plan_id, e.trace_id into newest from spillway.machine_events e
      where e.machine_id = new.machine_id order by e.id desc limit 1;
    new.plan_id := coalesce(newest.plan_id, machine.plan_id);
    new.trace_id := coalesce(newest.trace_id, machine.trace_id);
  end if;
  return new;
end $$;
create trigger machine_events_complete before insert on spillway.machine_events
  for each row execute function spillway.complete_machine_event();

-- At commit: whatever moved a machine has told of it.
create function spillway.require_machine_event() returns trigger language plpgsql as $$
declare
  before_state text := case when tg_op = 'UPDATE' then old.state end;
begin
  if not exists (
    select 1 from spillway.machine_events e
    where e.machine_id = new.id and e.revision = new.revision and e.to_state = new.state
      and e.from_state is not distinct from before_state
      and e.from_state is distinct from e.to_state) then
    raise exception 'machine % came from % to % without an event', new.id, coalesce(before_state, 'nothing'), new.state
      using errcode = 'check_violation';
  end if;
  return null;
end $$;
create constraint trigger machines_begin_with_event after insert on spillway.machines
  deferrable initially deferred for each row execute function spillway.require_machine_event();
create constraint trigger machines_move_with_event after update of state on spillway.machines
  deferrable initially deferred for each row when (old.state is distinct from new.state)
  execute function spillway.require_machine_event();

-- The revision is the number of changes of state, so that an event's revision names one change.
drop trigger machines_legal_transition on spillway.machines;
create or replace function spillway.refuse_illegal_transition() returns trigger language plpgsql as $$
begin
  if new.state <> old.state and not exists (
    select 1 from spillway.machine_transitions t where t.from_state = old.state and t.to_state = new.state) then
    raise exception 'machine % cannot go from % to %', old.id, old.state, new.state using errcode = 'check_violation';
  end if;
  if new.revision <> old.revision + (new.state <> old.state)::integer then
    raise exception 'machine % has a new revision if and only if it has a new state', old.id using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger machines_legal_transition before update on spillway.machines
  for each row when (old.state is distinct from new.state or old.revision is distinct from new.revision)
  execute function spillway.refuse_illegal_transition();

-- Launches: the same table of transitions as src/model/launch.ts; a test compares them.
create table spillway.launch_transitions (
  from_state  text not null,
  to_state    text not null,
  primary key (from_state, to_state)
);
insert into spillway.launch_transitions (from_state, to_state) values
  ('open', 'fulfilled'), ('open', 'refused'), ('open', 'expired');

create function spillway.refuse_illegal_launch() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'open' then
      raise exception 'launch % cannot begin as %', new.id, new.state using errcode = 'check_violation';
    end if;
  elsif not exists (
    select 1 from spillway.launch_transitions t where t.from_state = old.state and t.to_state = new.state) then
    raise exception 'launch % cannot go from % to %', old.id, old.state, new.state using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger launches_begin_open before insert on spillway.launches
  for each row execute function spillway.refuse_illegal_launch();
create trigger launches_legal_transition before update on spillway.launches
  for each row when (old.state is distinct from new.state) execute function spillway.refuse_illegal_launch();

-- Rows that are history or law stay. A later migration that changes a table of transitions disables its trigger for itself.
create function spillway.refuse_removal() returns trigger language plpgsql as $$
begin
  raise exception 'rows of table % are never removed', tg_table_name using errcode = 'restrict_violation';
end $$;
create trigger machines_stay before delete on spillway.machines
  for each row execute function spillway.refuse_removal();
create trigger machines_not_emptied before truncate on spillway.machines
  for each statement execute function spillway.refuse_removal();
create trigger launches_stay before delete on spillway.launches
  for each row execute function spillway.refuse_removal();
create trigger launches_not_emptied before truncate on spillway.launches
  for each statement execute function spillway.refuse_removal();
create trigger machine_events_not_emptied before truncate on spillway.machine_events
  for each statement execute function spillway.refuse_removal();

create function spillway.refuse_new_law() returns trigger language plpgsql as $$
begin
  raise exception 'table % changes with a migration only', tg_table_name using errcode = 'restrict_violation';
end $$;
create trigger machine_transitions_fixed before insert or update or delete or truncate on spillway.machine_transitions
  for each statement execute function spillway.refuse_new_law();
create trigger launch_transitions_fixed before insert or update or delete or truncate on spillway.launch_transitions
  for each statement execute function spillway.refuse_new_law();

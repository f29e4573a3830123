-- What a new machine would cost that stands in for one that was let go: how long EC2 bills before there is a task.

-- When EC2 had it, which is when it can begin to bill, and when it first took work.
alter table spillway.machines add column started_at timestamptz, add column first_ready_at timestamptz;

create function spillway.note_start() returns trigger language plpgsql as $$
begin
  if new.state = 'booting' then
    new.started_at := spillway.now();
  elsif new.state = 'ready' then
    -- Back from a drain is no start.
    new.first_ready_at := coalesce(new.first_ready_at, spillway.now());
  end if;
  return new;
end $$;
create trigger machines_start before update of state on spillway.machines
  for each row when (old.state is distinct from new.state) execute function spillway.note_start();

update spillway.machines m
  set started_at = (select min(e.at) from spillway.machine_events e where e.machine_id = m.id and e.to_state = 'booting'),
      first_ready_at = (select min(e.at) from spillway.machine_events e where e.machine_id = m.id and e.to_state = 'ready')
  where m.state <> 'terminated';

-- Whether what was let go was wanted again: machines of a workload by when they were wanted.
create index machines_wanted on spillway.machines (workload, created_at);

-- Whoever listens on `spillway_work` hears of pending work when it is committed, whichever process took it in. Postgres sends one
-- message per transaction, however many rows it writes. A message is a wake-up and never the state: lost ones cost an interval.
create function spillway.ring_work() returns trigger language plpgsql as $$
begin
  perform pg_notify('spillway_work', '');
  return null;
end
$$;

create trigger tasks_ring_when_submitted after insert on spillway.tasks
  for each statement execute function spillway.ring_work();
create trigger tasks_ring_when_pending_again after update of state on spillway.tasks
  for each row when (new.state = 'pending' and old.state <> 'pending') execute function spillway.ring_work();

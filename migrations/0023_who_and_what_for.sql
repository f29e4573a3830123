-- What was known only while it went on, or only to the log.

-- Who made the token with which an agent registers; null = nobody, it is that of a machine in the cloud.
alter table spillway.enrolments
  add column created_by text check (length(created_by) between 1 and 100),
  add column reason text check (length(reason) between 1 and 500);

-- What people ordered of on-prem agents, and why. Machines have such a history; an agent of the datacenter had log lines only.
create table spillway.agent_events (
  id        bigint generated always as identity primary key,
  agent_id  text not null references spillway.agents (id),
  at        timestamptz not null default spillway.now(),
  event     text not null check (event in ('register', 'install', 'cordon', 'drain', 'uncordon', 'remove')),
  -- As they call themselves; nobody proves it.
  actor     text not null check (length(actor) between 1 and 100),
  reason    text check (length(reason) between 1 and 500),
  detail    jsonb not null default '{}'
);
create index agent_events_agent on spillway.agent_events (agent_id, id);
create index agent_events_at on spillway.agent_events (at);
-- Old ones are forgotten; what is there stays as it was written.
create trigger agent_events_unchanged before update on spillway.agent_events
  for each row execute function spillway.refuse_change();

-- What a machine on its way waits for now, in the words of its step, and since when. Null = what its state says of it is all.
alter table spillway.machines
  add column waits_for text check (length(waits_for) <= 500),
  add column waits_since timestamptz,
  add constraint machines_waits check ((waits_for is null) = (waits_since is null));

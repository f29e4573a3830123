-- How often the step of a row has failed without a success in between, and what it said last: what the growing pause and the
-- end of a row whose step never works are made from.
alter table spillway.machines
  add column step_failures integer not null default 0 check (step_failures >= 0),
  add column step_error text check (length(step_error) <= 1000);
alter table spillway.launches
  add column step_failures integer not null default 0 check (step_failures >= 0),
  add column step_error text check (length(step_error) <= 1000);

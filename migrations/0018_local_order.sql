-- Which kinds of a workload's pending tasks get local room first: what the planner found them worth, for whoever gives them out.
create table spillway.local_order (
  workload    text primary key,
  -- [{"kind": "2000c4096m-local", "rank": 12}, ...], at most fifty
  kinds       jsonb not null check (jsonb_typeof(kinds) = 'array'),
  decided_at  timestamptz not null
);

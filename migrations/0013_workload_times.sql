-- What a workload's past says about its near future: how long its tasks run, and how long a machine takes from the wish to work.
create table spillway.workload_times (
  workload       text primary key,
  -- Over the newest tasks that ended well; null = too few.
  run_p50_s      double precision check (run_p50_s >= 0),
  run_p95_s      double precision check (run_p95_s >= run_p50_s),
  run_tasks      integer not null check (run_tasks >= 0),
  -- Over the newest machines that became ready; null = too few.
  join_p50_s     double precision check (join_p50_s >= 0),
  join_machines  integer not null check (join_machines >= 0),
  learned_at     timestamptz not null
);
create index tasks_done_by_workload on spillway.tasks (workload, finished_at desc) where state = 'done';

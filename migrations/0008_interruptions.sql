-- A task is given up when it was interrupted too often while it ran. An order that never reached its agent is no interruption,
-- though it takes a new attempt.
alter table spillway.tasks add column interruptions integer not null default 0 check (interruptions >= 0);
update spillway.tasks set interruptions = greatest(attempt - 1, 0) where state in ('pending', 'leased', 'running');

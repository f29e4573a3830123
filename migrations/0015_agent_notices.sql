-- What an agent tells besides its own tasks. They are included in running_tasks, so that everything that waits for work to be gone
-- waits for them too.
alter table spillway.agents add column other_tasks integer not null default 0 check (other_tasks >= 0);
-- The probe fails: nothing is known of other tasks, and that counts as one.
alter table spillway.agents add column probe_failed boolean not null default false;
-- EC2's recommendation to rebalance, from the first time it was heard of.
alter table spillway.agents add column rebalance_noticed_at timestamptz;

-- Since when the agent reports under its present boot; null = since it registered. What an earlier boot ran may run still, on the
-- machine that this one is a copy of: it is given out anew when its lease is over, not before.
alter table spillway.agents add column boot_since timestamptz;

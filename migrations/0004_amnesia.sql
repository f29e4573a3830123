-- What the database knows of its own memory. One row, always: whoever launches, drains or ends a machine locks it `for share`
-- first, and whoever finds that commits were lost changes it, so that nothing slips between a look and a commit.
create table spillway.amnesia (
  singleton   boolean primary key default true check (singleton),
  -- Null = nothing is known to be forgotten.
  since       timestamptz,
  reason      text check (reason in ('unknown-launch', 'lost-launch', 'lost-lease')),
  evidence    jsonb not null default '{}',
  -- Machines made anew from EC2 since then.
  rebuilt     integer not null default 0,
  -- Complete listings in a row, of all regions, that showed nothing unknown; and when the first of them was asked for.
  clean_listings integer not null default 0,
  clean_since timestamptz,
  constraint amnesia_has_reason check ((since is null) = (reason is null)),
  constraint amnesia_clean check ((clean_listings = 0) = (clean_since is null))
);
insert into spillway.amnesia (singleton) values (true) on conflict do nothing;

-- Grows with every renewal: a database in which it is lower than it was has lost commits, also when the epoch is the same.
alter table spillway.leases add column turns bigint not null default 0;

-- Orphans that the sweeper ended, for as long as they count against its limit.
create table spillway.sweep_kills (
  instance_id text primary key,
  at          timestamptz not null default spillway.now()
);
create index sweep_kills_at on spillway.sweep_kills (at);

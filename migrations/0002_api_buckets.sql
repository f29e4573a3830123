-- Tokens for calls to AWS, one row per region and kind of call, shared by all replicas: whoever calls takes first.
-- Sizes and rates are in src/model/api-rates.ts; what is kept here is the level.
create table spillway.api_buckets (
  region      text not null,
  bucket      text not null,
  -- Tokens for calls, and for the instances that a call names or asks for (0 where they cost nothing).
  call_tokens     double precision not null check (call_tokens >= 0),
  instance_tokens double precision not null check (instance_tokens >= 0),
  refilled_at timestamptz not null,
  -- The share of the refill that was left after the last back-off; it grows again with the time since `blocked_until`.
  rate_factor double precision not null default 1 check (rate_factor > 0 and rate_factor <= 1),
  -- No call before this, because AWS asked for fewer.
  blocked_until timestamptz,
  -- Back-offs in a row: each one doubles the block.
  strikes     integer not null default 0 check (strikes >= 0),
  -- For people: calls and back-offs since the row was made.
  calls       bigint not null default 0,
  backoffs    bigint not null default 0,
  primary key (region, bucket)
);

-- A machine that is on its way out is not asked for again before this; whoever writes it asks EC2, for many machines at once.
alter table spillway.machines add column terminate_again_at timestamptz;
create index machines_terminating on spillway.machines (state_since) where state = 'terminating';

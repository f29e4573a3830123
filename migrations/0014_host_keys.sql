-- The key a machine must prove over SSH once it has made its own: its public half. Null = none is pinned (yet).
alter table spillway.machines
  add check (host_key ~ '^ssh-ed25519 [A-Za-z0-9+/]{68}$'),
  -- When the machine first proved it; until then the one-time key of its launch is good, too.
  add column host_key_confirmed_at timestamptz,
  add check (host_key_confirmed_at is null or host_key is not null);

-- Lost commits may have stopped a machine and started it again: it is joined anew, whatever older state its row fell back to.
alter table spillway.machine_transitions disable trigger machine_transitions_fixed;
insert into spillway.machine_transitions (from_state, to_state) values
  ('ready', 'booting'), ('draining', 'booting'), ('leaving', 'booting')
  on conflict do nothing;
alter table spillway.machine_transitions enable trigger machine_transitions_fixed;

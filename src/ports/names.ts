/** What a command line may be completed with. `local-agents`: those of the datacenter, which take orders by name. */
export const NAME_KINDS = ['agents', 'local-agents', 'machines', 'workloads'] as const;
export type NameKind = (typeof NAME_KINDS)[number];

/** More than this nobody chooses from; another letter makes them fewer. */
export const NAMES_MAX = 500;

export interface Names {
  /**
   * Names that begin so, in order, the first {@link NAMES_MAX}: of agents that were not removed, of machines that live (their
   * ids), of workloads whose policy is in force.
   */
  listNames(kind: NameKind, prefix: string): Promise<readonly string[]>;
}

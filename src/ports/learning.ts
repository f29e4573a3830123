/** What the past of workloads says; kept in Postgres, so that every replica and the next start know it. */
export interface LearningStore {
  /** Learns the times of these workloads anew; those it is not asked about keep what they have. */
  learnTimes(workloads: readonly string[]): Promise<void>;
}

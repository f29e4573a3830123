/** `leased`: promised to an agent that may not have started it yet. `failed`: it ran and exited non-zero. */
export type TaskState = 'pending' | 'leased' | 'running' | 'done' | 'failed' | 'cancelled';

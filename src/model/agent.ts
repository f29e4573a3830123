/** Where an agent stands: in the user's own datacenter, or in a machine of ours. */
export type Site = 'on-prem' | 'aws';

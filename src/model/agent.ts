/** Where an agent stands: in the user's own datacenter, or in a machine of ours. */
export type Site = 'on-prem' | 'aws';

type Labels = Readonly<Record<string, string>>;

/** Tells of agents whether they bear every label that a selector names; an empty one selects every agent. */
export function selects(selector: Labels): (agent: { readonly labels: Labels }) => boolean {
  const wanted = Object.entries(selector);
  return ({ labels }) => wanted.every(([key, value]) => labels[key] === value);
}

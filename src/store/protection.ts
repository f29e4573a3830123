import { sql, type RawBuilder } from 'kysely';

import type { CloudInstance } from '../ports/cloud.ts';

/** Set to `true` on an instance by whoever may tag it in EC2. */
export const PROTECTION_TAG = 'spillway:protected';

export function bearsProtection({ tags }: Pick<CloudInstance, 'tags'>): boolean {
  return tags[PROTECTION_TAG]?.toLowerCase() === 'true';
}

/** True while an operator's protection counts, or the instance bears the tag. @param alias of the table `machines` */
export function isProtected(alias: string): RawBuilder<boolean> {
  const column = (name: string) => sql.ref(`${alias}.${name}`);
  return sql<boolean>`(${column('tag_protected')} or (${column('protected_at')} is not null
    and coalesce(${column('protected_until')} > spillway.now(), true)))`;
}

import { AppError } from '../model/errors.ts';
import { toCloudError } from './aws-errors.ts';
import type { PagedItems } from './pages.ts';

/** 100 pages = 100,000 instances or prices: far beyond one deployment, so that more is a fault and not a fleet. */
export const PAGES_MAX = 100;

/** The items of a listing of which a part is worth nothing: a price or type that is missing would be decided upon. */
export function wholeListing<T>(pages: PagedItems<T>, doing: string): readonly T[] {
  if (pages.stoppedBy === null) return pages.items;
  const { reason, error } = pages.stoppedBy;
  if (reason === 'failure') throw toCloudError(error, doing);
  const why = reason === 'deadline' ? 'in time' : `within ${PAGES_MAX} pages`;
  throw new AppError('AWS_UNREACHABLE', `EC2 did not ${doing} ${why}.`, {
    remedy: 'Name fewer instance families in the policies, or look for a proxy that slows the answers down.',
  });
}

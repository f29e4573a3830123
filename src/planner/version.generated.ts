/* Generated from the sources of the planner by `npm run generate`. */

/** Which planner this is: plans name the one that made them, because another one may decide otherwise. */
export const PLANNER_VERSION = '5339229c2091';

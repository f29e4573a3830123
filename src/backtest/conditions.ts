import { AppError } from '../model/errors.ts';
import { nearestWord, quoteValue } from '../model/units.ts';

/** Something that must not be, such as `costUsd > 100`. */
export interface Condition {
  readonly text: string;
  /** About the second policy less the first one. */
  readonly isDifference: boolean;
  readonly figure: string;
  readonly operator: Operator;
  readonly value: number;
}

const OPERATORS = {
  '>': (a: number, b: number) => a > b,
  '>=': (a: number, b: number) => a >= b,
  '<': (a: number, b: number) => a < b,
  '<=': (a: number, b: number) => a <= b,
  '==': (a: number, b: number) => a === b,
  '!=': (a: number, b: number) => a !== b,
} as const;
type Operator = keyof typeof OPERATORS;

const FORM = /^\s*(difference\.)?([A-Za-z][A-Za-z0-9]*)\s*(>=|<=|==|!=|>|<)\s*(-?\d+(?:\.\d+)?)\s*$/;
const REMEDY = "Write a figure, a comparison and a number: --fail-if 'costUsd > 100' or 'difference.costUsd > 0'.";

/** Reads a condition on one of the known figures. @throws AppError USAGE */
export function parseCondition(text: string, figures: readonly string[]): Condition {
  const [, difference, figure = '', operator, value] = FORM.exec(text) ?? [];
  if (operator === undefined || !isOperator(operator)) {
    throw new AppError('USAGE', `${quoteValue(text)} is not a condition`, { remedy: REMEDY });
  }
  if (!figures.includes(figure)) {
    const meant = nearestWord(figure, figures);
    const remedy = meant === null ? `Known are ${figures.join(', ')}.` : `Did you mean ${meant}?`;
    throw new AppError('USAGE', `there is no figure ${quoteValue(figure)}`, { remedy });
  }
  return { text: text.trim(), isDifference: difference !== undefined, figure, operator, value: Number(value) };
}

function isOperator(text: string): text is Operator {
  return Object.hasOwn(OPERATORS, text);
}

/** True when the condition holds; a figure that is not known (null) holds every condition, so that a gate never opens unseen. */
export function isMet({ operator, value }: Condition, actual: number | null): boolean {
  return actual === null || OPERATORS[operator](actual, value);
}

/** Line charts as SVG text: no scripts, no fonts or styles from elsewhere. */

export interface Series {
  readonly label: string;
  readonly color: string;
  /** One value for each moment of the chart. */
  readonly values: readonly number[];
  readonly isDashed?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly unit: string;
  /** Seconds from the beginning. */
  readonly moments: readonly number[];
  readonly series: readonly Series[];
}

const WIDTH = 900;
const HEIGHT = 240;
const LEFT = 70;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 30;
const DAY_S = 86_400;
const TICKS = 4;

/** Text that may stand in HTML and in attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** The chart with its legend as an HTML figure. */
export function renderChart({ title, unit, moments, series }: Chart): string {
  const most = Math.max(1e-9, ...series.map(({ values }) => maxOf(values)));
  const top = niceAbove(most);
  const end = Math.max(1, moments.at(-1) ?? 1);
  const x = (momentS: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * momentS) / end;
  const y = (value: number): number => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / top;
  const lines = series.map(
    ({ values, color, isDashed }) =>
      `<polyline fill="none" stroke="${color}" stroke-width="1.5"${isDashed === true ? ' stroke-dasharray="5 4"' : ''} points="${pathOf(moments, values, { x, y })}"/>`,
  );
  const label = escapeHtml(`${title}, ${unit}`);
  const svg = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">${axes({ top, end, x, y })}${lines.join('')}</svg>`;
  const legend = series
    .map(({ label: text, color, isDashed }) => {
      const mark = isDashed === true ? `border-top:2px dashed ${color};height:.3em` : `background:${color}`;
      return `<span><i style="${mark}"></i>${escapeHtml(text)}</span>`;
    })
    .join(' ');
  return `<figure><figcaption>${label}</figcaption>${svg}<p class="legend">${legend}</p></figure>`;
}

interface Scale {
  readonly x: (momentS: number) => number;
  readonly y: (value: number) => number;
}

/** Steps, not slopes: between two samples nothing is known. */
function pathOf(moments: readonly number[], values: readonly number[], { x, y }: Scale): string {
  return moments
    .map((momentS, at) => {
      const previous = at === 0 ? '' : `${x(momentS).toFixed(1)},${y(values[at - 1] ?? 0).toFixed(1)} `;
      return `${previous}${x(momentS).toFixed(1)},${y(values[at] ?? 0).toFixed(1)}`;
    })
    .join(' ');
}

function axes({ top, end, x, y }: Scale & { readonly top: number; readonly end: number }): string {
  const parts: string[] = [];
  for (let tick = 0; tick <= TICKS; tick += 1) {
    const value = (top * tick) / TICKS;
    const at = y(value).toFixed(1);
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#8884" />`);
    parts.push(`<text x="${LEFT - 6}" y="${Number(at) + 4}" text-anchor="end">${numberText(value)}</text>`);
  }
  const stepS = niceAbove(end / DAY_S / 6) * DAY_S;
  for (let momentS = 0; momentS <= end; momentS += stepS) {
    parts.push(
      `<text x="${x(momentS).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">${numberText(momentS / DAY_S)} d</text>`,
    );
  }
  return parts.join('');
}

/** The next of 1, 2, 5, 10, 20 ... at or above a value. */
function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((each) => each * power >= value * (1 - 1e-9)) ?? 10;
  return factor * power;
}

function numberText(value: number): string {
  return String(Number(value.toPrecision(4)));
}

function maxOf(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

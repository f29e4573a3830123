/** `*` and `?` as in EC2 filters and IAM patterns; case-sensitive, the whole text must match. */
export function matchesGlob(pattern: string, text: string): boolean {
  if (!/[*?]/.test(pattern)) return pattern === text;
  // Two cursors with one point to come back to: linear in practice, and no regular expression made of foreign text.
  let [at, from] = [0, 0];
  let star = -1;
  let resume = 0;
  while (from < text.length) {
    if (pattern[at] === '*') {
      star = at;
      resume = from;
      at += 1;
    } else if (pattern[at] === '?' || pattern[at] === text[from]) {
      at += 1;
      from += 1;
    } else if (star >= 0) {
      at = star + 1;
      resume += 1;
      from = resume;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}

// The known word that is most like a mistyped or shortened one.

/** The one of `candidates` that `word` may stand for; undefined when none is near. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const lower = word.toLowerCase()
  let best: string | undefined
  let leastEdits = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const known = candidate.toLowerCase()
    const isPart = lower.length >= SHORTEST_PART && (known.startsWith(lower) || lower.startsWith(known))
    const edits = isPart ? 0 : editsBetween(lower, known)
    if (edits < leastEdits) [best, leastEdits] = [candidate, edits]
  }
  return best
}

/** Letters that a shortened word has at least. */
const SHORTEST_PART = 3

/** Levenshtein's distance. */
function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

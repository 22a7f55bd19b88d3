// Names of a pool's keys. All have the pool's name as their hash tag, so that a Cluster keeps them in one slot and a
// script may touch them together.

/** Prefix of every key of the pool `name`; the name is encoded, since a brace in it would end the tag. */
export function poolPrefix(name: string): string {
  return `xengate:{${encodeURIComponent(name)}}:`
}

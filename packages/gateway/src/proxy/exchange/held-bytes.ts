// Bytes of bodies that are held until they are whole. Whoever has no session can send such bodies: what those of one worker hold together is
// bounded.

/** Bytes of each body that do not count: connections are bounded, and a short one finds room whatever others send. */
const FREE_BYTES = 4096
/** Bytes beyond these that all bodies may hold together. */
const HELD_BYTES_MAX = 16 * 1024 * 1024

let heldBytes = 0

/** What is held of one body. */
export class HeldBytes {
  #counted = 0

  /** Holds `bytes` in place of what it held. @returns whether there is room; if not, nothing changes */
  hold(bytes: number): boolean {
    const counted = Math.max(0, bytes - FREE_BYTES)
    const more = counted - this.#counted
    if (more > 0 && heldBytes + more > HELD_BYTES_MAX) return false
    heldBytes += more
    this.#counted = counted
    return true
  }

  /** Gives all back; may be said again. */
  release(): void {
    this.hold(0)
  }
}

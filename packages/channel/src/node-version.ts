// Imported before everything else: on a Node.js that is too old, this is what its user reads.

/** The oldest Node.js that this package runs on. */
const NODE_MAJOR_MIN = 22

if (Number.parseInt(process.versions.node, 10) < NODE_MAJOR_MIN) {
  throw new Error(
    `@xengate/channel needs Node.js ${NODE_MAJOR_MIN} or later; this is ${process.version} (${process.execPath})`,
  )
}

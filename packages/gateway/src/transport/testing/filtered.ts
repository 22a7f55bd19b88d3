// A process in which `io_uring_setup` fails with the error number of its argument, as seccomp filters of containers have it. It says what
// the probe finds.

import koffi, { type KoffiFunc } from 'koffi'
import { addressOf, pinned } from '../ring/memory.ts'
import { probeRing } from '../ring/probe.ts'

const PR_SET_SECCOMP = 22
const PR_SET_NO_NEW_PRIVS = 38
const SECCOMP_MODE_FILTER = 2
const RET_ERRNO = 0x5_0000
const RET_ALLOW = 0x7fff_0000
const IO_URING_SETUP = 425

const prctl: KoffiFunc<(option: number, a: number, b: number, c: number, d: number) => number> = koffi
  .load(null)
  .func('int prctl(int, int64, int64, int64, int64)')

/** Instructions of a filter (struct sock_filter): code, jumps when true and false, operand. */
const instructions: readonly (readonly [number, number, number, number])[] = [
  [0x20, 0, 0, 0], // load the call's number
  [0x15, 0, 1, IO_URING_SETUP], // is it this one?
  [0x06, 0, 0, RET_ERRNO | Number(process.argv[2])],
  [0x06, 0, 0, RET_ALLOW],
]
const filter = pinned(instructions.length * 8)
for (const [index, [code, whenTrue, whenFalse, operand]] of instructions.entries()) {
  filter.writeUInt16LE(code, index * 8)
  filter.writeUInt8(whenTrue, index * 8 + 2)
  filter.writeUInt8(whenFalse, index * 8 + 3)
  filter.writeUInt32LE(operand, index * 8 + 4)
}
const program = pinned(16)
program.writeUInt16LE(instructions.length, 0)
program.writeBigUInt64LE(BigInt(addressOf(filter)), 8)

prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressOf(program), 0, 0) !== 0)
  throw new Error('no filter could be set')
console.log(JSON.stringify(probeRing()))

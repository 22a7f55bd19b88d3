// Whether the machine is a guest of another one, as far as it can be told from within.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** In words: whether it is a guest, and what each source says of it. A source that is not there says "nothing". */
export function describeGuest(): string {
  const vm = printed('systemd-detect-virt', ['--vm'])
  const container = printed('systemd-detect-virt', ['--container'])
  const isFlagged = /^flags\s*:.*\bhypervisor\b/m.test(read('/proc/cpuinfo'))
  const xen = [read('/sys/hypervisor/type'), read('/sys/hypervisor/guest_type')].filter((text) => text !== '').join(' ')
  const hardware = ['sys_vendor', 'product_name']
    .map((name) => read(`/sys/class/dmi/id/${name}`))
    .join(' ')
    .trim()
  const isGuest = isFlagged || xen !== '' || (vm !== '' && vm !== 'none')
  const sources = [
    `systemd-detect-virt: ${vm || 'nothing'}`,
    `hypervisor flag of the processor: ${isFlagged ? 'yes' : 'no'}`,
    `/sys/hypervisor: ${xen || 'nothing'}`,
    `DMI: ${hardware || 'nothing'}`,
    `clock: ${read('/sys/devices/system/clocksource/clocksource0/current_clocksource') || 'nothing'}`,
  ]
  const within = container === '' || container === 'none' ? '' : `, in a container (${container})`
  return `${isGuest ? 'a guest' : 'no guest, as far as it shows'}${within} (${sources.join('; ')})`
}

/** @returns the first line of what `command` prints; '' when it is not there */
function printed(command: string, argv: readonly string[]): string {
  return (spawnSync(command, argv, { encoding: 'utf8' }).stdout ?? '').trim().split('\n', 1)[0] ?? ''
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    return ''
  }
}

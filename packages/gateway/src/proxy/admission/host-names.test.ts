import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HostNames } from './host-names.ts'

test('a name is one of the list, in any case and with any port; addresses always are', () => {
  const names = new HostNames(['xen.example.com', 'localhost'])
  for (const [host, isAllowed] of [
    ['xen.example.com', true],
    ['XEN.Example.com:8443', true],
    ['localhost:80', true],
    ['rebound.example', false],
    ['rebound.example:80', false],
    ['xen.example.com.', true],
    ['xen.example.com.:443', true],
    ['xen.example.com..', false],
    ['a.xen.example.com', false],
    ['xen.example.com.rebound.example', false],
    ['10.0.0.1', true],
    ['10.0.0.1:443', true],
    ['10.0.0.1.rebound.example', false],
    ['1.2.3', false],
    ['[::1]:8080', true],
    ['', true],
    [undefined, true],
    // Once more, and after another.
    ['rebound.example', false],
    ['rebound.example', false],
    ['localhost', true],
    ['localhost', true],
  ] as const) {
    assert.equal(names.allows({ host }), isAllowed, String(host))
  }
})

test('without a list any name is answered', () => {
  assert.equal(new HostNames([]).allows({ host: 'rebound.example' }), true)
})

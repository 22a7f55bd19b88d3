// The stand-in's two wire formats, as xapi speaks them.

import { XMLParser } from 'fast-xml-parser'
import type { ApiFailure, Value } from './tables.ts'

/** A call, and how its answer is written. */
export interface WireCall {
  readonly method: string
  readonly params: readonly Value[]
  readonly contentType: string
  readonly succeed: (value: Value) => string
  readonly fail: (failure: ApiFailure) => string
}

function methodResponse(members: string): string {
  const value = `<value><struct>${members}</struct></value>`
  return `<?xml version="1.0"?><methodResponse><params><param>${value}</param></params></methodResponse>`
}

/** Reads the body of a POST to `path`. @throws when it is no call */
export function readCall(path: string, body: string): WireCall {
  return path === '/jsonrpc' ? readJson(body) : readXml(body)
}

function readJson(body: string): WireCall {
  const request = JSON.parse(body) as { jsonrpc?: string; method: string; params: Value[]; id: string | number }
  const { id, jsonrpc } = request
  return {
    method: request.method,
    params: request.params,
    contentType: 'application/json',
    succeed: (result) => JSON.stringify(jsonrpc === '2.0' ? { jsonrpc, result, id } : { result, error: null, id }),
    fail: ({ code, params }) =>
      JSON.stringify(
        jsonrpc === '2.0'
          ? { jsonrpc, error: { code: 1, message: code, data: params }, id }
          : { result: null, error: [code, ...params], id },
      ),
  }
}

type Node = Record<string, unknown>

const parser = new XMLParser({
  parseTagValue: false,
  trimValues: false,
  isArray: (name) => name === 'param' || name === 'member' || name === 'value',
})

function readXml(body: string): WireCall {
  const call = (parser.parse(body) as Node)['methodCall'] as Node
  const params = ((call['params'] as Node | undefined)?.['param'] ?? []) as Node[]
  return {
    method: String(call['methodName']),
    params: params.map((param) => fromXml((param['value'] as unknown[])[0])),
    contentType: 'text/xml',
    succeed: (value) => methodResponse(member('Status', 'Success') + member('Value', value)),
    fail: ({ code, params: rest }) =>
      methodResponse(member('Status', 'Failure') + member('ErrorDescription', [code, ...rest])),
  }
}

function fromXml(node: unknown): Value {
  if (typeof node === 'string') return node
  if (typeof node !== 'object' || node === null) return ''
  const of = node as Node
  if ('struct' in of) {
    const members = ((of['struct'] as Node | '')['member' as never] ?? []) as Node[]
    return Object.fromEntries(members.map((each) => [String(each['name']), fromXml((each['value'] as unknown[])[0])]))
  }
  if ('array' in of) {
    const data = (of['array'] as Node)['data'] as Node | ''
    return (((data as Node)['value'] ?? []) as unknown[]).map(fromXml)
  }
  if ('boolean' in of) return of['boolean'] === '1'
  if ('double' in of) return Number(of['double'])
  return Object.values(of).find((value): value is string => typeof value === 'string' && value.trim() !== '') ?? ''
}

function member(name: string, value: Value): string {
  return `<member><name>${escapeXml(name)}</name><value>${toXml(value)}</value></member>`
}

function toXml(value: Value): string {
  if (typeof value === 'string') return `<string>${escapeXml(value)}</string>`
  if (typeof value === 'number') return `<double>${value}</double>`
  if (typeof value === 'boolean') return `<boolean>${value ? 1 : 0}</boolean>`
  if (Array.isArray(value)) {
    return `<array><data>${value.map((each) => `<value>${toXml(each)}</value>`).join('')}</data></array>`
  }
  const members = Object.entries(value).map(([name, inner]) => member(name, inner))
  return `<struct>${members.join('')}</struct>`
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

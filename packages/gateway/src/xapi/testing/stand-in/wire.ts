// The stand-in's two wire formats, as xapi speaks them.

import { parseXml, type XmlElement } from '../../../xenapi/xml.ts'
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

function readXml(body: string): WireCall {
  const [name, params] = within(parseXml(body))
  return {
    method: textOf(name),
    params: within(params).map((param) => fromXml(within(param)[0])),
    contentType: 'text/xml',
    succeed: (value) => methodResponse(member('Status', 'Success') + member('Value', value)),
    fail: ({ code, params: rest }) =>
      methodResponse(member('Status', 'Failure') + member('ErrorDescription', [code, ...rest])),
  }
}

/** The elements in an element. */
function within(element: XmlElement | undefined): readonly XmlElement[] {
  return (element?.children ?? []).filter((child) => typeof child === 'object')
}

function textOf(element: XmlElement | undefined): string {
  return (element?.children ?? []).filter((child) => typeof child === 'string').join('')
}

/** Whole numbers stay texts, as the XenAPI has them. */
function fromXml(value: XmlElement | undefined): Value {
  const [content] = within(value)
  switch (content?.name) {
    case undefined:
      return textOf(value)
    case 'struct':
      return Object.fromEntries(
        within(content).map((each) => {
          const [name, inner] = within(each)
          return [textOf(name), fromXml(inner)]
        }),
      )
    case 'array':
      return within(within(content)[0]).map(fromXml)
    case 'boolean':
      return textOf(content) === '1'
    case 'double':
      return Number(textOf(content))
    default:
      return textOf(content)
  }
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

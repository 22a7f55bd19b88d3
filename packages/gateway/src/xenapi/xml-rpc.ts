// XML-RPC as xapi speaks it. http://xmlrpc.com/spec.md, with xapi's result struct inside.

import { MalformedCallError, type XenApiError } from './errors.ts'
import { formatDateTime, type MethodCall, type RpcValue } from './values.ts'
import { escapeXml, parseXml, type XmlElement } from './xml.ts'

/**
 * Parses a methodCall.
 *
 * @throws {MalformedCallError} when it is not one.
 */
export function parseXmlRpcCall(document: string): MethodCall {
  const root = parseXml(document)
  if (root.name !== 'methodCall') throw malformed('the root element is not methodCall')
  const [name, params, ...more] = elementsOf(root)
  if (name?.name !== 'methodName' || more.length > 0) throw malformed('methodCall holds methodName and params')
  if (params !== undefined && params.name !== 'params') throw malformed('methodCall holds methodName and params')
  return { method: textOf(name).trim(), params: params === undefined ? [] : elementsOf(params).map(paramOf) }
}

/** A call of `method`. */
export function formatXmlRpcCall(method: string, params: readonly RpcValue[]): string {
  const formatted = params.map((param) => `<param>${formatValue(param)}</param>`).join('')
  return `<?xml version="1.0"?><methodCall><methodName>${escapeXml(method)}</methodName><params>${formatted}</params></methodCall>`
}

/**
 * The one value of a methodResponse.
 *
 * @throws {MalformedCallError} when it is not one.
 */
export function parseXmlRpcResponse(document: string): RpcValue {
  const root = parseXml(document)
  const [params, ...more] = elementsOf(root)
  if (root.name !== 'methodResponse' || params?.name !== 'params' || more.length > 0) {
    throw malformed('methodResponse holds params')
  }
  const [param, ...others] = elementsOf(params)
  if (param === undefined || others.length > 0) throw malformed('a response holds one param')
  return paramOf(param)
}

/** The answer to a call that succeeded. */
export function formatXmlRpcResult(value: RpcValue): string {
  return response({ Status: 'Success', Value: value })
}

/** The answer to a call that failed. */
export function formatXmlRpcError(error: XenApiError): string {
  return response({ Status: 'Failure', ErrorDescription: [error.code, ...error.params] })
}

function response(result: RpcValue): string {
  const value = formatValue(result)
  return `<?xml version="1.0" encoding="UTF-8"?><methodResponse><params><param>${value}</param></params></methodResponse>`
}

/** Strings have no element of their own, as xapi writes them; whole numbers are `i4` (see `RpcValue`). */
function formatValue(value: RpcValue): string {
  return `<value>${formatContent(value)}</value>`
}

function formatContent(value: RpcValue): string {
  if (typeof value === 'string') return escapeXml(value)
  if (typeof value === 'boolean') return `<boolean>${value ? 1 : 0}</boolean>`
  if (typeof value === 'number') return Number.isInteger(value) ? `<i4>${value}</i4>` : `<double>${value}</double>`
  if (value === null) return '<nil/>'
  if (value instanceof Date) return `<dateTime.iso8601>${formatDateTime(value)}</dateTime.iso8601>`
  // `isArray` does not narrow a readonly array away from the object type; the check is the proof.
  if (Array.isArray(value))
    return `<array><data>${(value as readonly RpcValue[]).map(formatValue).join('')}</data></array>`
  return `<struct>${Object.entries(value).map(formatMember).join('')}</struct>`
}

function formatMember([name, value]: [string, RpcValue]): string {
  return `<member><name>${escapeXml(name)}</name>${formatValue(value)}</member>`
}

function paramOf(param: XmlElement): RpcValue {
  const [value, ...more] = elementsOf(param)
  if (param.name !== 'param' || value === undefined || more.length > 0) throw malformed('a param holds one value')
  return valueOf(value)
}

/** Recursion is bounded by the reader's depth. */
function valueOf(element: XmlElement): RpcValue {
  if (element.name !== 'value') throw malformed(`"${element.name}" stands where a value should`)
  if (element.children.every((child) => typeof child === 'string')) return textOf(element)
  const [content, ...more] = elementsOf(element)
  if (content === undefined || more.length > 0) throw malformed('a value holds more than one thing')
  return contentOf(content)
}

function contentOf(content: XmlElement): RpcValue {
  switch (content.name) {
    case 'string':
    case 'dateTime.iso8601':
    case 'base64':
      return textOf(content)
    case 'int':
    case 'i4':
    case 'i8':
      return integerOf(textOf(content).trim())
    case 'double':
      return doubleOf(textOf(content).trim())
    case 'boolean':
      return booleanOf(textOf(content).trim())
    case 'array':
      return arrayOf(content)
    case 'struct':
      return Object.fromEntries(elementsOf(content).map(memberOf))
    case 'nil':
    case 'ex:nil':
      return null
    default:
      throw malformed(`"${content.name}" is not a type`)
  }
}

function integerOf(text: string): RpcValue {
  if (!/^[+-]?\d{1,19}$/.test(text)) throw malformed('an integer is not one')
  const value = Number(text)
  // Beyond 2^53 the digits are kept: the XenAPI's integers are strings anyway.
  return Number.isSafeInteger(value) ? value : text
}

function doubleOf(text: string): number {
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$/.test(text)) throw malformed('a double is not one')
  return Number(text)
}

function booleanOf(text: string): boolean {
  if (text !== '0' && text !== '1') throw malformed('a boolean is neither 0 nor 1')
  return text === '1'
}

function arrayOf(array: XmlElement): RpcValue[] {
  const [data, ...more] = elementsOf(array)
  if (data?.name !== 'data' || more.length > 0) throw malformed('an array holds one data')
  return elementsOf(data).map(valueOf)
}

function memberOf(member: XmlElement): [string, RpcValue] {
  const [name, value, ...more] = elementsOf(member)
  if (member.name !== 'member' || name?.name !== 'name' || value === undefined || more.length > 0) {
    throw malformed('a member holds a name and a value')
  }
  return [textOf(name), valueOf(value)]
}

/** The elements in `element`; between them only white space may stand. */
function elementsOf(element: XmlElement): XmlElement[] {
  return element.children.filter((child) => {
    if (typeof child === 'string' && child.trim() !== '') throw malformed(`text in "${element.name}"`)
    return typeof child === 'object'
  })
}

function textOf(element: XmlElement): string {
  return element.children
    .map((child) => {
      if (typeof child === 'object') throw malformed(`an element in the text of "${element.name}"`)
      return child
    })
    .join('')
}

function malformed(what: string): MalformedCallError {
  return new MalformedCallError(`read XML-RPC: ${what}`)
}

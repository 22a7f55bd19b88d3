// Xen Orchestra's packages, which come without types: what the tests use of them.

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** What is used of xen-api's client. */
export interface Xapi {
  readonly pool: Readonly<Record<string, unknown>>
  readonly objectsFetched: Promise<void>
  readonly objects: { readonly all: Readonly<Record<string, unknown>> }
  /** Classes that it found by introspection. */
  readonly _types: readonly string[]
  connect(): Promise<void>
  disconnect(): Promise<void>
  call(method: string, ...params: unknown[]): Promise<unknown>
  getAllRecords(type: string): Promise<readonly Readonly<Record<string, unknown>>[]>
  once(event: string, listener: (value: unknown) => void): void
}

interface XenApiModule {
  createClient(options: object): Xapi
}

interface FormatModule {
  formatXml(tree: object, options: object): string
}

interface ParseModule {
  parseXml(document: string, options: object): object
}

interface XmlRpcFormatterModule {
  readonly xmlRpcFormatter: { format_methodCall(call: object): object }
}

interface XmlRpcParserModule {
  readonly xmlRpcParser: { parse(tree: object): unknown }
}

const xenApi = require('xen-api') as XenApiModule
const format = require('@vates/xml/format') as FormatModule
const parse = require('@vates/xml/parse') as ParseModule
const { xmlRpcFormatter } = require('@vates/xml-rpc/formatter') as XmlRpcFormatterModule
const { xmlRpcParser } = require('@vates/xml-rpc/parser') as XmlRpcParserModule

/** Xen Orchestra's client of the XenAPI. */
export function createClient(options: object): Xapi {
  return xenApi.createClient(options)
}

/** A methodCall as xen-api writes it. */
export function writeCall(methodName: string, params: readonly unknown[]): string {
  return format.formatXml(xmlRpcFormatter.format_methodCall({ methodName, params }), { indent: 0 })
}

/** A methodResponse as xen-api reads it. */
export function readResponse(document: string): unknown {
  return xmlRpcParser.parse(parse.parseXml(document, { normalize: false, trim: false }))
}

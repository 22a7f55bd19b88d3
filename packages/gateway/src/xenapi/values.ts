// Values of the XenAPI, between the methods and the two wire formats.

/**
 * A value of the XenAPI.
 *
 * The API's integers are strings here as on the wire, and so are references and enumerations. A number is a float, or,
 * in event batches only, a 32-bit count. A `Date` is a datetime, an array a set, an object a record or a map. `null`
 * comes from clients only.
 */
export type RpcValue =
  | string
  | number
  | boolean
  | null
  | Date
  | readonly RpcValue[]
  | { readonly [name: string]: RpcValue }

/** A method call, before anyone has looked whether there is such a method. */
export interface MethodCall {
  readonly method: string
  readonly params: readonly RpcValue[]
}

/** The XenAPI's form of a datetime: UTC, whole seconds, `20260131T23:59:59Z`. */
export function formatDateTime(date: Date): string {
  return date
    .toISOString()
    .replaceAll('-', '')
    .replace(/\.\d+Z$/, 'Z')
}

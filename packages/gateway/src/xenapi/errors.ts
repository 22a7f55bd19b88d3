// The XenAPI's errors, each made in one place: a code and its parameters, which clients compare.

import { ROLES, roleIncludes, type Role } from '../model/role.ts'

/** A call that failed, as the client is told. */
export class XenApiError extends Error {
  override readonly name = 'XenApiError'
  readonly code: string
  readonly params: readonly string[]

  constructor(code: string, params: readonly string[]) {
    // The parameters may hold a session id, so the text does not hold them.
    super(`call method: ${code}`)
    this.code = code
    this.params = params
  }
}

/** The request is not a method call at all; it is answered below the XenAPI, with HTTP 500, as xapi does. */
export class MalformedCallError extends Error {
  override readonly name = 'MalformedCallError'
}

/** No live session has this id. */
export function sessionInvalid(id: string): XenApiError {
  return new XenApiError('SESSION_INVALID', [id])
}

/** Wrong name or password; `message` is for people. */
export function authenticationFailed(user: string, message: string): XenApiError {
  return new XenApiError('SESSION_AUTHENTICATION_FAILED', [user, message])
}

/** There is no such method. */
export function methodUnknown(method: string): XenApiError {
  return new XenApiError('MESSAGE_METHOD_UNKNOWN', [method])
}

/** Wrong number of parameters; neither number counts the session, as in xapi. */
export function parameterCountMismatch(method: string, expected: number, received: number): XenApiError {
  return new XenApiError('MESSAGE_PARAMETER_COUNT_MISMATCH', [method, String(expected), String(received)])
}

/** A parameter of the wrong type. */
export function fieldTypeError(parameter: string): XenApiError {
  return new XenApiError('FIELD_TYPE_ERROR', [parameter])
}

/** A parameter of the right type that cannot be accepted. */
export function invalidValue(parameter: string, value: string): XenApiError {
  return new XenApiError('INVALID_VALUE', [parameter, value])
}

/** No object of this class has this reference. */
export function handleInvalid(className: string, reference: string): XenApiError {
  return new XenApiError('HANDLE_INVALID', [className, reference])
}

/** No object of this class has this uuid. */
export function uuidInvalid(className: string, uuid: string): XenApiError {
  return new XenApiError('UUID_INVALID', [className, uuid])
}

/** The session's role may not call this method, which needs `role` or a higher one. */
export function permissionDenied(method: string, role: Role): XenApiError {
  const allowed = ROLES.filter((held) => roleIncludes(held, role)).join(', ')
  const message = `No permission in user session. (Roles with this permission: ${allowed})`
  return new XenApiError('RBAC_PERMISSION_DENIED', [method.toLowerCase(), message])
}

/** The session may not do this, for a reason that is for people. */
export function permissionDeniedText(method: string, message: string): XenApiError {
  return new XenApiError('RBAC_PERMISSION_DENIED', [method, message])
}

/** A token that `event.from` did not give. */
export function tokenParseFailure(token: string): XenApiError {
  return new XenApiError('EVENT_FROM_TOKEN_PARSE_FAILURE', [token])
}

/** `event.next` before `event.register`. */
export function sessionNotRegistered(id: string): XenApiError {
  return new XenApiError('SESSION_NOT_REGISTERED', [id])
}

/** The new password cannot be one. */
export function changePasswordRejected(message: string): XenApiError {
  return new XenApiError('CHANGE_PASSWORD_REJECTED', [message])
}

/** What is asked for cannot be done now; `reason` is for people. */
export function operationNotAllowed(reason: string): XenApiError {
  return new XenApiError('OPERATION_NOT_ALLOWED', [reason])
}

/** A map has this key. */
export function duplicateKey(className: string, field: string, reference: string, key: string): XenApiError {
  return new XenApiError('MAP_DUPLICATE_KEY', [className, field, reference, key])
}

/** A limit is reached. */
export function tooBusy(): XenApiError {
  return new XenApiError('TOO_BUSY', [])
}

/** A failure of the gateway itself; what it was stands in the log. */
export function internalError(): XenApiError {
  return new XenApiError('INTERNAL_ERROR', ['The gateway failed to answer; its log says why'])
}

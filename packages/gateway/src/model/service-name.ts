// Well-known names of services, as they stand in `/services/plugin/<name>` and on the socket's file.

/** 1 to 100 of letters, digits, `.`, `_`, `-`, not starting with `.` or `-`. */
export const SERVICE_NAME_PATTERN: RegExp = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/

/**
 * Whether `text` can be the name of a service. Names are compared exactly and never decoded from percent-encoding.
 * One that ends in `.channel` names the second socket of a service and is none itself.
 */
export function isServiceName(text: string): boolean {
  return SERVICE_NAME_PATTERN.test(text) && !text.endsWith('.channel')
}

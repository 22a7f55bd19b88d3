// Methods of the class session.

import { AccountError } from '../sessions/accounts/errors.ts'
import type { SessionRecord } from '../sessions/accounts/sign-in.ts'
import { roleIncludes } from '../model/role.ts'
import { authenticationFailed, changePasswordRejected, handleInvalid, invalidValue, sessionInvalid } from './errors.ts'
import { anyRole, type Arguments, type Call, type Method, type MethodTable, type SessionCall } from './method.ts'
import { NULL_REFERENCE } from './records.ts'
import type { RpcValue } from './values.ts'

/** Fields of a session's record, with what reads each. `methods` are those that the session's role may call. */
const FIELDS: Readonly<Record<string, (record: SessionRecord, call: SessionCall, methods: string[]) => RpcValue>> = {
  uuid: ({ session }) => session.uuid,
  this_host: (_record, { state }) => state.hostReference,
  this_user: () => NULL_REFERENCE,
  last_active: ({ lastActiveMs }) => new Date(lastActiveMs),
  pool: () => false,
  other_config: () => ({}),
  is_local_superuser: ({ session }) => session.isLocalSuperuser,
  subject: ({ session }) => session.subject,
  validation_time: ({ createdMs }) => new Date(createdMs),
  auth_user_sid: ({ session, userUuid }) => (session.isLocalSuperuser ? '' : userUuid),
  auth_user_name: ({ session }) => session.user,
  rbac_permissions: ({ session }, _call, methods) => (session.isLocalSuperuser ? [] : methods),
  tasks: ({ session }, { state }) => state.tasks.madeBy(session.uuid),
  parent: () => NULL_REFERENCE,
  originator: ({ session }) => session.originator,
  client_certificate: () => false,
}

/**
 * The class's methods.
 *
 * @param table the whole table, to say which methods a session may call; read at calls only.
 */
export function sessionMethods(table: () => MethodTable): MethodTable {
  const read = (field: (record: SessionRecord, call: SessionCall, methods: string[]) => RpcValue): Method => ({
    kind: 'session',
    params: ['self'],
    role: 'pool-admin',
    handler: async (call, args) => {
      const record = await call.state.authority.record(args.text(0))
      if (record === undefined) throw handleInvalid('session', args.text(0))
      return field(record, call, permissionsOf(record, table()))
    },
  })
  const getters = Object.entries(FIELDS).map(([name, field]) => [`session.get_${name}`, read(field)])
  return {
    ...(Object.fromEntries(getters) as MethodTable),
    'session.get_record': read((record, call, methods) =>
      Object.fromEntries(Object.entries(FIELDS).map(([name, field]) => [name, field(record, call, methods)])),
    ),
    'session.login_with_password': {
      kind: 'open',
      params: ['uname', 'pwd', 'version', 'originator'],
      mandatory: 2,
      handler: login,
    },
    'session.logout': anyRole([], logout),
    'session.change_password': anyRole(['old_pwd', 'new_pwd'], changePassword),
    'session.get_all_subject_identifiers': anyRole([], ({ state }) => state.authority.subjectIdentifiers()),
    'session.logout_subject_identifier': {
      kind: 'session',
      params: ['subject_identifier'],
      role: 'pool-operator',
      handler: async ({ state, session }, args) => {
        await state.authority.logoutSubject(args.text(0), session.uuid)
        return ''
      },
    },
  }
}

async function login({ state, clientAddress, log }: Call, args: Arguments): Promise<RpcValue> {
  const user = args.text(0)
  const password = args.text(1)
  // The version is of the client's API and has never meant anything.
  args.optionalText(2, '')
  const originator = args.optionalText(3, '')
  log.claimed(user, originator)
  try {
    const { id, session } = await state.authority.login({ user, password, originator, clientAddress })
    log.identified(session)
    return id
  } catch (error) {
    if (error instanceof AccountError && error.code === 'SIGN_IN_REFUSED')
      throw authenticationFailed(user, error.message)
    if (error instanceof AccountError && error.code === 'ORIGINATOR_INVALID') {
      throw invalidValue('originator', originator.slice(0, 100))
    }
    throw error
  }
}

/** Answers when the session is dead everywhere. Of two logouts at once, one is told that there is no such session. */
async function logout({ state, sessionId }: SessionCall): Promise<RpcValue> {
  if (!(await state.authority.logout(sessionId))) throw sessionInvalid(sessionId)
  return ''
}

/** Unlike in xapi, where it changes root's, it changes the caller's own password. */
async function changePassword({ state, session, clientAddress }: SessionCall, args: Arguments): Promise<RpcValue> {
  try {
    await state.authority.changePassword(session.user, args.text(0), args.text(1), clientAddress)
    return ''
  } catch (error) {
    if (!(error instanceof AccountError)) throw error
    if (error.code === 'SIGN_IN_REFUSED') throw authenticationFailed(session.user, error.message)
    if (error.code === 'PASSWORD_INVALID') throw changePasswordRejected(error.message)
    throw error
  }
}

function permissionsOf({ session }: SessionRecord, table: MethodTable): string[] {
  return Object.entries(table)
    .filter(([, method]) => method.kind === 'session' && session.roles.some((held) => roleIncludes(held, method.role)))
    .map(([name]) => name.toLowerCase())
}

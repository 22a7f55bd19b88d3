// Methods of the class task.

import { duplicateKey, invalidValue, uuidInvalid } from './errors.ts'
import { anyRole, type Arguments, type Method, type MethodTable, type SessionCall } from './method.ts'
import { taskRecord, TASK_FIELDS } from './task-record.ts'
import { FIELD_CHARACTERS_MAX, type Task } from './tasks.ts'
import type { RpcValue } from './values.ts'

/** Methods of the class task. */
export function taskMethods(): MethodTable {
  const getters = Object.entries(TASK_FIELDS).map(([name, read]) => [
    `task.get_${name}`,
    onTask([], ({ state }, task) => read(task, state.hostReference)),
  ])
  return {
    'task.create': anyRole(['label', 'description'], ({ state, session }, args) => {
      // Clients put paths into names, which can be long.
      const [label, description] = [args.text(0), args.text(1)].map((text) => text.slice(0, FIELD_CHARACTERS_MAX))
      return state.tasks.create(session, label ?? '', description ?? '').reference
    }),
    'task.destroy': onTask([], ({ state }, task) => {
      state.tasks.destroy(task)
      return ''
    }),
    'task.cancel': onTask([], ({ state }, task) => {
      state.tasks.end(task, 'cancelled')
      return ''
    }),
    'task.get_all': anyRole([], (call) => tasksOf(call).map(({ reference }) => reference)),
    'task.get_all_records': anyRole([], (call) =>
      Object.fromEntries(
        tasksOf(call).map((task) => [task.reference, taskRecord(task, call.state.hostReference)] as const),
      ),
    ),
    'task.get_by_uuid': anyRole(['uuid'], (call, args) => {
      const task = tasksOf(call).find(({ uuid }) => uuid === args.text(0))
      if (task === undefined) throw uuidInvalid('task', args.text(0))
      return task.reference
    }),
    'task.get_by_name_label': anyRole(['label'], (call, args) =>
      tasksOf(call).flatMap(({ label, reference }) => (label === args.text(0) ? [reference] : [])),
    ),
    'task.get_record': onTask([], ({ state }, task) => taskRecord(task, state.hostReference)),
    ...(Object.fromEntries(getters) as MethodTable),
    ...setters(),
  }
}

/** How a service reports. */
function setters(): MethodTable {
  return {
    'task.set_progress': onTask(['value'], ({ state }, task, args) => {
      const progress = args.number(1)
      if (progress < 0 || progress > 1) throw invalidValue('value', String(progress))
      state.tasks.change(task, { progress })
      return ''
    }),
    'task.set_status': onTask(['value'], ({ state }, task, args) => {
      const status = args.text(1)
      if (status === 'pending') return ''
      if (status !== 'success' && status !== 'failure' && status !== 'cancelled') {
        throw invalidValue('value', status.slice(0, 100))
      }
      state.tasks.end(task, status)
      return ''
    }),
    'task.set_result': onTask(['value'], ({ state }, task, args) => {
      state.tasks.change(task, { result: bounded(args.text(1), 'value') })
      return ''
    }),
    'task.set_error_info': onTask(['value'], ({ state }, task, args) => {
      state.tasks.change(task, { errorInfo: bounded(args.texts(1), 'value') })
      return ''
    }),
    'task.add_to_other_config': onTask(['key', 'value'], ({ state }, task, args) => {
      const [key, value] = [args.text(1), args.text(2)]
      const { otherConfig, reference } = task
      if (Object.hasOwn(otherConfig, key)) throw duplicateKey('task', 'other_config', reference, key)
      state.tasks.change(task, { otherConfig: bounded(withEntry(otherConfig, key, value), 'value') })
      return ''
    }),
    'task.remove_from_other_config': onTask(['key'], ({ state }, task, args) => {
      const entries = Object.entries(task.otherConfig).filter(([key]) => key !== args.text(1))
      state.tasks.change(task, { otherConfig: Object.fromEntries(entries) })
      return ''
    }),
  }
}

/** `Object.fromEntries` defines what an assignment to `__proto__` would not. */
function withEntry(map: Readonly<Record<string, string>>, key: string, value: string): Record<string, string> {
  return Object.fromEntries([...Object.entries(map), [key, value]])
}

function tasksOf({ state, session }: SessionCall): Task[] {
  return state.tasks.of(session)
}

/** A method on a task, its first parameter. */
function onTask(
  params: readonly string[],
  handler: (call: SessionCall, task: Task, args: Arguments) => RpcValue,
): Method {
  return anyRole(['self', ...params], (call, args) => {
    return handler(call, call.state.tasks.get(call.session, args.text(0)), args)
  })
}

function bounded<T extends RpcValue>(value: T, name: string): T {
  if (JSON.stringify(value).length > FIELD_CHARACTERS_MAX) throw invalidValue(name, 'it is too long')
  return value
}

// The record of a task.

import { NULL_REFERENCE, type XenApiRecord } from './records.ts'
import type { Task } from './tasks.ts'
import type { RpcValue } from './values.ts'

/** Fields of a task's record, with what reads each. Times of what has not happened are the epoch, as in xapi. */
export const TASK_FIELDS: Readonly<Record<string, (task: Task, hostReference: string) => RpcValue>> = {
  uuid: ({ uuid }) => uuid,
  name_label: ({ label }) => label,
  name_description: ({ description }) => description,
  allowed_operations: ({ status }) => (status === 'pending' ? ['cancel', 'destroy'] : ['destroy']),
  current_operations: () => ({}),
  created: ({ createdMs }) => new Date(createdMs),
  finished: ({ finishedMs }) => new Date(finishedMs),
  status: ({ status }) => status,
  resident_on: (_task, hostReference) => hostReference,
  progress: ({ progress }) => progress,
  type: () => '<none/>',
  result: ({ result }) => result,
  error_info: ({ errorInfo }) => errorInfo,
  other_config: ({ otherConfig }) => otherConfig,
  subtask_of: () => NULL_REFERENCE,
  subtasks: () => [],
  backtrace: () => '()',
}

/** A task's record. */
export function taskRecord(task: Task, hostReference: string): XenApiRecord {
  return Object.fromEntries(Object.entries(TASK_FIELDS).map(([name, read]) => [name, read(task, hostReference)]))
}

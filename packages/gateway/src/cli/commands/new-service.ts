// xengate new service: writes a small service to begin with.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isServiceName } from '@xengate/channel/contract'
import { CliError, EXIT } from '../errors.ts'
import { type Io, say } from '../io.ts'
import { filesOf, type Language } from '../new-service/templates.ts'

/** Where the Python library may be: beside the bundled application, in the built package, and in a checkout. */
const LIBRARY_PLACES: readonly string[] = ['.', '../..', '../../../../../libraries/python']
const LIBRARY = 'xengate_service.py'

export interface NewServiceOptions {
  readonly language: Language
  /** Default: the service's name. */
  readonly directory?: string
}

/** @throws {CliError} when the name cannot be a service's, or the directory cannot be used */
export function newService(name: string, { language, directory = name }: NewServiceOptions, io: Io): number {
  if (!isServiceName(name)) {
    throw new CliError('new-name-invalid', `cannot make a service with the name "${name}"`)
  }
  const path = resolve(io.cwd, directory)
  const files = new Map(filesOf(name, language))
  if (language === 'python') files.set(LIBRARY, library())
  try {
    mkdirSync(path, { recursive: true })
    if (readdirSync(path).length > 0) {
      throw new CliError('directory-not-empty', `cannot make a service in ${path}: the directory is not empty`)
    }
    for (const [file, text] of files) writeFileSync(join(path, file), text, { flag: 'wx' })
  } catch (error) {
    if (error instanceof CliError || !(error instanceof Error)) throw error
    throw new CliError('directory-unusable', `cannot make a service in ${path}: ${error.message}`, { cause: error })
  }
  say(io, `${name} is in ${path}. Next: cd ${directory}, and see README.md`)
  return EXIT.ok
}

function library(): string {
  const path = LIBRARY_PLACES.map((place) => join(import.meta.dirname, place, LIBRARY)).find((at) => existsSync(at))
  if (path === undefined) throw new Error(`${LIBRARY} is missing: xengate is not installed whole`)
  return readFileSync(path, 'utf8')
}

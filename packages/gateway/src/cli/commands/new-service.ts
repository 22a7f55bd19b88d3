// xengate new service: writes a small service to begin with.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { isServiceName } from '@xengate/channel/contract'
import { CliError, EXIT } from '../errors.ts'
import { type Io, say } from '../io.ts'
import { filesOf, type Language } from '../new-service/templates.ts'

/** A library that is copied into a service: what it is called there and, in a package, below this directory, and where a checkout has it. */
interface Library {
  readonly name: string
  readonly source: string
}

const LIBRARIES: Readonly<Partial<Record<Language, Library>>> = {
  python: { name: 'xengate_service.py', source: 'libraries/python/xengate_service.py' },
  go: { name: 'xengate', source: 'libraries/go' },
}

/** Where libraries may be: beside the bundled application, and in the built package. */
const LIBRARY_PLACES: readonly string[] = ['.', '../..']
const CHECKOUT = '../../../../..'

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
  const library = LIBRARIES[language]
  if (library !== undefined) for (const [file, text] of filesOfLibrary(library)) files.set(file, text)
  try {
    mkdirSync(path, { recursive: true })
    if (readdirSync(path).length > 0) {
      throw new CliError('directory-not-empty', `cannot make a service in ${path}: the directory is not empty`)
    }
    for (const [file, text] of files) {
      mkdirSync(dirname(join(path, file)), { recursive: true })
      writeFileSync(join(path, file), text, { flag: 'wx' })
    }
  } catch (error) {
    if (error instanceof CliError || !(error instanceof Error)) throw error
    throw new CliError('directory-unusable', `cannot make a service in ${path}: ${error.message}`, { cause: error })
  }
  say(io, `${name} is in ${path}. Next: cd ${directory}, and see README.md`)
  return EXIT.ok
}

/** Texts by file name: of the one file that a library is, or of the sources in its directory. */
function filesOfLibrary({ name, source }: Library): readonly (readonly [string, string])[] {
  const paths = [...LIBRARY_PLACES.map((place) => join(place, name)), join(CHECKOUT, source)]
  const path = paths.map((at) => join(import.meta.dirname, at)).find((at) => existsSync(at))
  if (path === undefined) throw new Error(`${name} is missing: xengate is not installed whole`)
  if (statSync(path).isFile()) return [[name, readFileSync(path, 'utf8')]]
  const sources = readdirSync(path).filter((file) => file.endsWith('.go'))
  return sources.map((file) => [join(name, file), readFileSync(join(path, file), 'utf8')])
}

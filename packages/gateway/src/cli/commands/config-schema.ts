// xengate config-schema: the configuration's JSON Schema, or a sample file, or the reference page.

import { configReference, sampleConfig } from '../../config/documentation.ts'
import { configJsonSchema } from '../../config/schema.ts'
import { EXIT } from '../errors.ts'
import { type Io, print } from '../io.ts'

export function configSchema(options: { readonly sample?: boolean; readonly reference?: boolean }, io: Io): number {
  if (options.sample === true) print(io, sampleConfig().trimEnd())
  else if (options.reference === true) print(io, configReference().trimEnd())
  else print(io, JSON.stringify(configJsonSchema(), null, 2))
  return EXIT.ok
}

// A process of its own that opens the database argv[2], and prints its tables and the pool's uuid.

import { openDatabase } from '../database.ts'
import { identity } from '../identity.ts'

const [, , path = ''] = process.argv
const db = openDatabase(path)
process.stdout.write(identity(db).poolUuid)
db.close()

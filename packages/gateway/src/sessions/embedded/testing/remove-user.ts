// A process of its own that removes the user named in argv[3] from the database argv[2], as the command line does.

import { openDatabase } from '../database.ts'
import { UserStore } from '../users.ts'

const [, , path = '', name = ''] = process.argv
const db = openDatabase(path)
await new UserStore(db).remove(name)
db.close()

// Finds passages as somebody types. What is searched is fetched when the field is entered for the first time.
import MiniSearch from './minisearch.js'

const field = document.querySelector('input[type=search]')
const list = document.querySelector('#found')
const HITS_MAX = 12
let index = null

async function load() {
  const response = await fetch(new URL('passages.json', import.meta.url))
  const passages = await response.json()
  const made = new MiniSearch({ fields: ['title', 'page', 'text'], storeFields: ['title', 'page', 'url'] })
  made.addAll(passages.map((passage, id) => ({ id, ...passage })))
  return made
}

async function find() {
  index ??= load()
  const query = field.value
  const found =
    query === '' ? [] : (await index).search(query, { prefix: true, fuzzy: 0.2, boost: { title: 3, page: 2 } })
  // Another key was pressed meanwhile.
  if (field.value !== query) return
  list.replaceChildren(
    ...found.slice(0, HITS_MAX).map(({ title, page, url }) => {
      const item = document.createElement('li')
      const link = document.createElement('a')
      link.href = new URL(url, import.meta.url)
      link.textContent = title === page ? page : `${page}: ${title}`
      item.append(link)
      return item
    }),
  )
  document.querySelector('#count').textContent = query === '' ? '' : `${found.length} found`
}

field.addEventListener('focus', () => (index ??= load()))
field.addEventListener('input', () => void find())
field.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    field.value = ''
    void find()
  }
  if (event.key === 'Enter') list.querySelector('a')?.click()
})

// Makes the documentation's pages: docs-site.ts DIRECTORY. They are the repository's Markdown, with links between them, a page for each
// answer of the gateway's own, and a search that runs in the browser. They take nothing from elsewhere.

import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { Marked, type Tokens } from 'marked'
import { commandsPage } from './docs-commands.ts'
import { refusalPages } from './docs-refusals.ts'

const ROOT = dirname(import.meta.dirname)
const SITE = join(ROOT, 'docs/site')

interface Group {
  readonly title: string
  /** Paths in the repository. */
  readonly pages: readonly string[]
}

/** All pages, in the order of the contents. */
const GROUPS: readonly Group[] = [
  {
    title: 'Begin',
    pages: ['docs/start.md', 'docs/calls.md', 'docs/services.md', 'docs/migrating.md', 'examples/README.md'],
  },
  {
    title: 'Libraries',
    pages: [
      'packages/client/README.md',
      'packages/service/README.md',
      'libraries/python/README.md',
      'libraries/go/README.md',
      'docs/channels.md',
      'packages/channel/README.md',
      'packages/http1/README.md',
    ],
  },
  { title: 'Hosts', pages: ['docs/xenserver.md', 'docs/dom0.md', 'docs/debian.md', 'docs/pool.md'] },
  {
    title: 'Operate',
    pages: [
      'docs/operate.md',
      'docs/operations.md',
      'docs/configuration.md',
      'docs/command-line.md',
      'docs/log-events.md',
      'docs/scale.md',
    ],
  },
  {
    title: 'Reference',
    pages: ['docs/http.md', 'docs/answers.md', 'docs/custom-services-api.md', 'docs/conformance.md'],
  },
  {
    title: 'About',
    pages: [
      'docs/security.md',
      'docs/architecture.md',
      'docs/performance.md',
      'docs/dependencies.md',
      'CHANGELOG.md',
      'docs/decisions.md',
    ],
  },
]
/** Pages that others lead to. */
const MORE: readonly string[] = [
  ...globSync(['docs/decisions/*.md'], { cwd: ROOT }),
  'examples/unchanged/README.md',
  'bench/README.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  'packages/gateway/README.md',
  'README.md',
]

/** The page that is the index, too. */
const FIRST = 'start.html'

/** A page before it is HTML. */
interface Source {
  /** Where it is in the repository, or would be. */
  readonly path: string
  readonly text: string
}

/** A part of a page, which is found by itself. */
interface Passage {
  readonly page: string
  readonly title: string
  readonly url: string
  text: string
}

function main(directory: string | undefined): void {
  if (directory === undefined) throw new Error('usage: docs-site.ts DIRECTORY')
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  const generated = [...refusalPages(), commandsPage(), decisionsPage()]
  const sources: Source[] = [
    ...generated,
    ...[...GROUPS.flatMap(({ pages }) => pages), ...MORE]
      .filter((path) => !generated.some((page) => page.path === path))
      .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') })),
  ]
  const files = new Map(sources.map(({ path }) => [path, fileOf(path)]))
  const titles = new Map(sources.map(({ path, text }) => [path, titleOf(text)]))
  const passages: Passage[] = []
  for (const source of sources) {
    const html = pageOf(source, { directory, files, titles, passages })
    write(join(directory, files.get(source.path) ?? ''), html)
  }
  copyFileSync(join(directory, FIRST), join(directory, 'index.html'))
  writeFileSync(join(directory, 'passages.json'), JSON.stringify(passages))
  for (const file of ['search.js', 'style.css', 'icon.svg']) copyFileSync(join(SITE, file), join(directory, file))
  copyFileSync(join(ROOT, 'node_modules/minisearch/dist/es/index.js'), join(directory, 'minisearch.js'))
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

/** The page's file in the site, whose root is `docs/`. */
function fileOf(path: string): string {
  const within = path.startsWith('docs/') ? path.slice('docs/'.length) : path
  return within.replace(/(?:\/README)?\.md$/, '.html').toLowerCase()
}

function titleOf(text: string): string {
  return (
    /^(?:# (.*)|(.*)\n=+)$/m
      .exec(text)
      ?.slice(1)
      .find((title) => title !== undefined)
      ?.replaceAll('`', '') ?? ''
  )
}

function decisionsPage(): Source {
  const rows = globSync('docs/decisions/*.md', { cwd: ROOT })
    .toSorted()
    .map((path) => `- [${titleOf(readFileSync(join(ROOT, path), 'utf8'))}](${relative('docs', path)})`)
  return {
    path: 'docs/decisions.md',
    text: `# Decisions\n\nWhat was not obvious, and why it is as it is.\n\n${rows.join('\n')}\n`,
  }
}

interface Site {
  readonly directory: string
  readonly files: ReadonlyMap<string, string>
  readonly titles: ReadonlyMap<string, string>
  readonly passages: Passage[]
}

function pageOf({ path, text }: Source, site: Site): string {
  const file = site.files.get(path) ?? ''
  const page = titleOf(text)
  const ids = new Map<string, number>()
  const marked = new Marked({
    gfm: true,
    renderer: {
      heading({ tokens, depth, text: title }: Tokens.Heading): string {
        const id = idOf(title, ids)
        if (depth <= 3) {
          const url = depth === 1 ? file : `${file}#${id}`
          site.passages.push({ page, title: title.replaceAll('`', ''), url, text: '' })
        }
        return `<h${depth} id="${id}">${this.parser.parseInline(tokens)}</h${depth}>\n`
      },
      // There is none on the pages but comments: what looks like a tag is text, such as <name>.
      html({ text: html }: Tokens.HTML | Tokens.Tag): string {
        return html.startsWith('<!--') ? '' : escaped(html)
      },
      link({ href, text: words, tokens }: Tokens.Link): string {
        const label = titleOfLink(words, href, path, site) ?? this.parser.parseInline(tokens)
        const target = targetOf(href, path, file, site)
        // What is in the repository alone has no page.
        return target === null ? label : `<a href="${escaped(target)}">${label}</a>`
      },
      image({ href, text: alternative }: Tokens.Image): string {
        const from = normalize(join(dirname(path), href))
        const to = join('images', from.replaceAll('/', '-'))
        mkdirSync(join(site.directory, 'images'), { recursive: true })
        copyFileSync(join(ROOT, from), join(site.directory, to))
        return `<img src="${escaped(relative(dirname(file), to))}" alt="${escaped(alternative)}">`
      },
      table(token: Tokens.Table): string {
        // Wide ones are scrolled, by the keyboard too.
        const row = (cells: readonly Tokens.TableCell[], kind: 'th' | 'td'): string =>
          `<tr>${cells
            .map(({ text: words, tokens }) => {
              const tag = words === '' ? 'td' : kind
              return `<${tag}>${this.parser.parseInline(tokens)}</${tag}>`
            })
            .join('')}</tr>\n`
        const hasHead = token.header.some((cell) => cell.text !== '')
        const head = hasHead ? `<thead>${row(token.header, 'th')}</thead>` : ''
        return `<div class="table" tabindex="0" role="group"><table>${head}<tbody>${token.rows.map((cells) => row(cells, 'td')).join('')}</tbody></table></div>\n`
      },
      code({ text: code }: Tokens.Code): string {
        return `<pre tabindex="0"><code>${escaped(code)}</code></pre>\n`
      },
    },
  })
  const body = marked.parse(text, { async: false })
  addTexts(site.passages, file, body)
  return shellOf({ page, file, path, body }, site)
}

/** The text below each heading of a page, for the search. */
function addTexts(passages: readonly Passage[], file: string, body: string): void {
  const parts = body.split(/<h[1-3] id="([^"]*)">/)
  for (let index = 1; index < parts.length; index += 2) {
    const url = index === 1 ? file : `${file}#${parts[index]}`
    const passage = passages.find((other) => other.url === url)
    if (passage !== undefined) passage.text = plain(parts[index + 1] ?? '')
  }
}

function plain(html: string): string {
  return html
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/&(?:amp|lt|gt|quot|#39);/g, (name) => ENTITIES[name] ?? ' ')
    .replaceAll(/\s+/g, ' ')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
}

function escaped(text: string): string {
  return text.replaceAll(
    /[&<>"]/g,
    (character) => Object.entries(ENTITIES).find(([, plainOne]) => plainOne === character)?.[0] ?? '',
  )
}

/** As GitHub makes them, so that links hold in both places. */
function idOf(title: string, ids: Map<string, number>): string {
  const id = title
    .toLowerCase()
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-')
  const count = ids.get(id) ?? 0
  ids.set(id, count + 1)
  return count === 0 ? id : `${id}-${count}`
}

/** The path of the page that a link leads to, if there is one. */
function pageAt(href: string, path: string, { files }: Site): string | undefined {
  const found = normalize(join(dirname(path), decodeURIComponent(href.split('#')[0] ?? ''))).replace(/\/$/, '')
  return [found, `${found}/README.md`, `${found}.md`].find((page) => files.has(page))
}

/** For a link whose text is the name of a file, which the site does not have: the title of the page, as HTML. */
function titleOfLink(words: string, href: string, path: string, site: Site): string | undefined {
  const page = /^`?[\w./-]+\.md`?$/.test(words) ? pageAt(href, path, site) : undefined
  return page === undefined ? undefined : escaped(site.titles.get(page) ?? '')
}

/** Where a link leads in the site; null when it is to a file that has no page. @throws {Error} when it leads nowhere */
function targetOf(href: string, path: string, file: string, site: Site): string | null {
  if (/^[a-z]+:/.test(href) || href.startsWith('#')) return href
  const [to = '', fragment] = href.split('#')
  const page = site.files.get(pageAt(href, path, site) ?? '')
  if (page !== undefined) return `${relative(dirname(file), page)}${fragment === undefined ? '' : `#${fragment}`}`
  if (!existsSync(join(ROOT, dirname(path), decodeURIComponent(to)))) throw new Error(`${path}: nothing is at ${href}`)
  return null
}

function shellOf(
  {
    page,
    file,
    path,
    body,
  }: { readonly page: string; readonly file: string; readonly path: string; readonly body: string },
  { files, titles }: Site,
): string {
  const up = (to: string): string => relative(dirname(file), to) || to
  const contents = GROUPS.map(({ title, pages }) => {
    const items = pages.map((other) => {
      const current = other === path ? ' aria-current="page"' : ''
      return `<li><a href="${up(files.get(other) ?? '')}"${current}>${escaped(titles.get(other) ?? '')}</a></li>`
    })
    return `<h2>${title}</h2>\n<ul>\n${items.join('\n')}\n</ul>`
  })
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(page)} · Xengate</title>
<link rel="icon" href="${up('icon.svg')}">
<link rel="stylesheet" href="${up('style.css')}">
<script type="module" src="${up('search.js')}"></script>
</head>
<body>
<header>
<a class="home" href="${up('index.html')}">Xengate</a>
<input type="search" placeholder="Search" aria-label="Search">
<p id="count" role="status"></p>
<ul id="found"></ul>
</header>
<nav aria-label="Contents">
${contents.join('\n')}
</nav>
<main>
${body}</main>
</body>
</html>
`
}

main(process.argv[2])

// Files that are served as they are. Their addresses are below /xengate/, where the gateway has them wherever the page itself is: at / too, and
// at /xengate, where xapi's web server sends the page without sending the browser to /xengate/ first.
import { defineConfig } from 'vite'

export default defineConfig({
  base: '/xengate/',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: { target: 'es2023', assetsInlineLimit: 0, modulePreload: false, reportCompressedSize: false },
})

// Files that are served as they are, below whatever path: all addresses in them are relative.
import { defineConfig } from 'vite'

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: { target: 'es2023', assetsInlineLimit: 0, modulePreload: false, reportCompressedSize: false },
})

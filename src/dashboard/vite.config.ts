import path from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** PatternFly's web fonts have no Japanese glyphs, and system fonts cost nothing to load. */
const withoutWebFonts = {
  postcssPlugin: 'without-web-fonts',
  AtRule: { 'font-face': (rule: { remove: () => void }) => rule.remove() },
};

// oxlint-disable-next-line import/no-default-export -- Vite reads the default export.
export default defineConfig({
  root: import.meta.dirname,
  plugins: [react()],
  css: { postcss: { plugins: [withoutWebFonts] } },
  build: {
    outDir: path.resolve(import.meta.dirname, '../../dist/dashboard'),
    emptyOutDir: true,
    target: 'es2024',
    // A data: URL would need a wider content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});

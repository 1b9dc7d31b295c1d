import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { build } from 'vite';
import { startServer } from '../../src/main/server.ts';
import { silentLogger } from '../../src/shared/logger.ts';
import { reportHostsAlive, seedFleet } from './seed-fleet.ts';
import type { Fleet } from './seed-fleet.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const WAIT_MS = 20_000;
const HEARTBEAT_MS = 10_000;

export interface DashboardService {
  readonly url: string;
  readonly databasePath: string;
  readonly dashboardFolder: string;
  readonly fleet: Fleet;
  close(): Promise<void>;
}

/** The real server over a seeded catalog, serving a dashboard that was built just now. */
export async function startDashboardService(): Promise<DashboardService> {
  const folder = await mkdtemp(path.join(tmpdir(), 'dashboard-'));
  const databasePath = path.join(folder, 'catalog.db');
  const dashboardFolder = path.join(folder, 'dashboard');
  await build({
    configFile: path.join(ROOT, 'src/dashboard/vite.config.ts'),
    build: { outDir: dashboardFolder },
    logLevel: 'error',
  });
  const server = await startServer({
    databasePath,
    dashboardFolder,
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
  });
  const fleet = await seedFleet({ databasePath, url: server.url });
  const heartbeat = setInterval(() => void reportHostsAlive(databasePath), HEARTBEAT_MS);
  return {
    url: server.url,
    databasePath,
    dashboardFolder,
    fleet,
    close: async () => {
      clearInterval(heartbeat);
      await server.close();
      await rm(folder, { recursive: true });
    },
  };
}

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });

export interface Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  /** What the page complained about: console errors, exceptions, requests elsewhere. */
  readonly complaints: string[];
}

export interface VisitOptions {
  readonly language?: 'en' | 'ja';
  readonly theme?: 'light' | 'dark';
  readonly width?: number;
  readonly height?: number;
  /** Signed in with it; without it at the sign-in page. */
  readonly token?: string;
}

export async function openDashboard(
  browser: Browser,
  url: string,
  options: VisitOptions = {},
): Promise<Visit> {
  const { language = 'en', theme = 'light', width = 1280, height = 900 } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    locale: language === 'ja' ? 'ja-JP' : 'en-GB',
    timezoneId: 'Asia/Tokyo',
    colorScheme: theme,
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`exception: ${error.message}`));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== url) complaints.push(`request to ${request.url()}`);
  });
  if (options.token !== undefined)
    await page.addInitScript(
      ([token]) => sessionStorage.setItem('komadori.token', token ?? ''),
      [options.token],
    );
  await page.goto(url);
  return { page, context, complaints };
}

import path from 'node:path';
import type { Page } from 'playwright-core';
import { launchBrowser, openDashboard, startDashboardService } from './dashboard-service.ts';
import type { VisitOptions } from './dashboard-service.ts';
import type { Fleet } from './seed-fleet.ts';

const FOLDER = path.resolve(import.meta.dirname, '../../docs/images');
const PHONE = { width: 390, height: 844 };

interface Picture {
  readonly name: string;
  readonly address: (fleet: Fleet) => string;
  readonly look?: VisitOptions;
  /** Brings the page to the moment worth showing, and waits for it. */
  readonly pose: (page: Page) => Promise<void>;
}

const PICTURES: readonly Picture[] = [
  {
    name: 'overview',
    address: () => '/',
    pose: (page) => page.getByText('saved by deduplication').waitFor(),
  },
  {
    name: 'vm-timeline',
    address: (fleet) => `/vms/${fleet.vmId}`,
    pose: (page) => page.getByText('You are here').waitFor(),
  },
  {
    name: 'create-snapshot',
    address: (fleet) => `/vms/${fleet.vmId}`,
    pose: async (page) => {
      await page.getByRole('button', { name: 'Take a snapshot' }).click();
      await page.getByText('Expected pause of the guest').waitFor();
    },
  },
  {
    name: 'restore',
    address: (fleet) => `/snapshots/${fleet.snapshotId}`,
    pose: async (page) => {
      await page.getByRole('button', { name: 'Restore' }).click();
      await page.getByRole('button', { name: 'Next' }).click();
      await page.getByText('snapshots were taken since').waitFor();
    },
  },
  {
    name: 'job',
    address: (fleet) => `/jobs/${fleet.jobId}`,
    pose: (page) => page.getByText('Copy the data').first().waitFor(),
  },
  {
    name: 'vm-timeline-ja-dark',
    address: (fleet) => `/vms/${fleet.vmId}`,
    look: { language: 'ja', theme: 'dark' },
    pose: (page) => page.getByText('現在地').waitFor(),
  },
  {
    name: 'approve-phone',
    address: () => '/requests',
    look: PHONE,
    pose: (page) => page.getByText('before-patch').waitFor(),
  },
];

/** The pictures of the documentation, taken of the running product over a seeded catalog. */
async function takeScreenshots(): Promise<void> {
  const service = await startDashboardService();
  const browser = await launchBrowser();
  try {
    for (const { name, address, look, pose } of PICTURES) {
      const token = service.fleet.tokens.administrator;
      const { page, context } = await openDashboard(browser, service.url, { token, ...look });
      await page.goto(service.url + address(service.fleet));
      await pose(page);
      await page.waitForLoadState('load');
      await page.screenshot({ path: path.join(FOLDER, `${name}.png`), animations: 'disabled' });
      await context.close();
    }
  } finally {
    await browser.close();
    await service.close();
  }
}

if (import.meta.main) await takeScreenshots();

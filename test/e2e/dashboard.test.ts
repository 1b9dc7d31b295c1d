import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { AxeBuilder } from '@axe-core/playwright';
import type { Browser, Page } from 'playwright-core';
import { createClient } from '../../src/client/client.ts';
import { launchBrowser, openDashboard, startDashboardService } from './dashboard-service.ts';
import type { DashboardService, Visit, VisitOptions } from './dashboard-service.ts';
import { advanceJob } from './seed-requests.ts';
import { waitUntil } from '../support/service/wait-until.ts';

const FIRST_LOAD_BYTES_MAX = 300_000;
/** What language and theme can change; the structure of a page is checked once. */
const RULES_OF_LOOKS = ['color-contrast', 'button-name', 'link-name', 'label', 'html-has-lang'];

let service: DashboardService;
let browser: Browser;

before(async () => {
  service = await startDashboardService();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await service?.close();
});

/** Opens the dashboard, and afterwards insists that nothing was complained about. */
async function visit(
  options: VisitOptions,
  act: (page: Page, visit: Visit) => Promise<void>,
): Promise<void> {
  const opened = await openDashboard(browser, service.url, options);
  try {
    await act(opened.page, opened);
    assert.deepEqual(opened.complaints, []);
  } finally {
    await opened.context.close();
  }
}

const pages = (): Record<string, string> => ({
  overview: '/',
  vms: '/vms',
  vm: `/vms/${service.fleet.vmId}`,
  snapshots: '/snapshots',
  snapshot: `/snapshots/${service.fleet.snapshotId}`,
  requests: '/requests',
  closedRequests: '/requests?show=closed',
  jobs: '/jobs',
  job: `/jobs/${service.fleet.jobId}`,
  hosts: '/hosts',
  repositories: '/repositories',
  audit: '/audit',
  account: '/account',
});

/** Loaded: a title, and neither a wait nor a problem in sight. */
async function settle(page: Page): Promise<void> {
  await page.locator('h1').first().waitFor();
  await page.locator('.kd-wait').first().waitFor({ state: 'detached' });
  await page.locator('main .pf-v6-c-card, main table, main .pf-v6-c-empty-state').first().waitFor();
}

/** To another page without loading everything again, as a link would. */
async function turnTo(page: Page, address: string): Promise<void> {
  await page.locator('h1').first().waitFor();
  const heading = await page.locator('h1').first().elementHandle();
  // The same page with another query keeps its heading.
  const isHere = new URL(address, page.url()).pathname === new URL(page.url()).pathname;
  await page.evaluate(`history.pushState({}, '', ${JSON.stringify(address)})`);
  if (!isHere) await heading?.waitForElementState('hidden');
  await settle(page);
}

/** What is half faded in has not the contrast that a reader sees. Runs in the page. */
const FADED_IN = `[...document.querySelectorAll('[role=tooltip]')].every(
  (tooltip) => getComputedStyle(tooltip).opacity === '1',
)`;

async function seriousIssues(page: Page, rules?: readonly string[]): Promise<string[]> {
  await waitUntil(
    'The end of all fading',
    async () => (await page.evaluate<boolean>(FADED_IN)) || undefined,
  );
  const axe = new AxeBuilder({ page }).options({ resultTypes: ['violations'] });
  const { violations } = await (rules ? axe.withRules([...rules]) : axe).analyze();
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`);
}

test('signing in: a wrong token is refused, a good one leads in, signing out forgets it', async () => {
  const opened = await openDashboard(browser, service.url);
  const { page } = opened;
  try {
    assert.deepEqual(await seriousIssues(page), []);
    await page.getByRole('button', { name: 'Use an API token' }).click();
    assert.deepEqual(await seriousIssues(page), []);
    await page.getByLabel('API token').fill(`kmd_${'x'.repeat(43)}`);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('The server does not know this token').waitFor();
    await page.getByLabel('API token').fill(service.fleet.tokens.viewer);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Password').waitFor();
    const kept = await page.evaluate<string>('Object.values({ ...sessionStorage }).join()');
    assert.ok(!kept.includes(service.fleet.tokens.viewer));
    // The browser itself reports the 401 of the wrong token, and nothing else is wrong.
    assert.deepEqual(
      opened.complaints.filter((complaint) => !complaint.includes('401')),
      [],
    );
  } finally {
    await opened.context.close();
  }
});

test('a token that is no longer good leads back to the sign-in, wherever one is', async () => {
  const opened = await openDashboard(browser, service.url, { token: `kmd_${'y'.repeat(43)}` });
  try {
    await opened.page.goto(`${service.url}/audit`);
    await opened.page.getByLabel('Password').waitFor();
  } finally {
    await opened.context.close();
  }
});

for (const look of [
  { language: 'en', theme: 'light' },
  { language: 'ja', theme: 'dark' },
] as const)
  test(`every page loads without complaint or serious issue: ${look.language}, ${look.theme}`, async () => {
    const token = service.fleet.tokens.administrator;
    await visit({ ...look, token }, async (page) => {
      for (const [name, address] of Object.entries(pages())) {
        await turnTo(page, address);
        assert.equal(await page.locator('html').getAttribute('lang'), look.language);
        const isDark = await page.locator('html.pf-v6-theme-dark').count();
        assert.equal(isDark, look.theme === 'dark' ? 1 : 0, name);
        const rules = look.theme === 'dark' ? RULES_OF_LOOKS : undefined;
        assert.deepEqual(await seriousIssues(page, rules), [], name);
        if (look.language === 'ja') assert.deepEqual(await libraryEnglish(page), [], name);
      }
    });
  });

/** Words that the component library says by itself unless it is told others. */
async function libraryEnglish(page: Page): Promise<string[]> {
  const heard = await page.evaluate<string[]>(HEARD);
  const english = /\b(alert:|loading|close|toggle|required|show (more|less)|clear)\b/i;
  return heard.filter((text) => english.test(text));
}

/** Runs in the browser: all that is shown or read out, but what is marked as English. */
const HEARD = `
  [...document.querySelectorAll('body *')].filter((element) => !element.closest('[lang="en"]')).flatMap((element) => [
    ...['aria-label', 'aria-valuetext', 'title', 'placeholder'].map((name) => element.getAttribute(name) ?? ''),
    ...[...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent),
  ])`;

test('the language is switched in place and kept', async () => {
  await visit({ token: service.fleet.tokens.viewer }, async (page) => {
    await page.getByRole('button', { name: '日本語' }).click();
    await page.getByRole('heading', { name: '概要' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: '概要' }).waitFor();
    await page.getByRole('button', { name: 'English' }).click();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
  });
});

test('the create dialog says what would happen as one types, and asks where a rule wants it', async () => {
  await visit({ token: service.fleet.tokens.operator }, async (page) => {
    await page.goto(`${service.url}/vms/${service.fleet.vmId}`);
    await page.getByRole('button', { name: 'Take a snapshot' }).click();
    const dialog = page.getByRole('dialog');
    const plan = dialog.getByRole('region', { name: 'What will happen' });
    await plan.getByText('Memory and disks of one instant').waitFor();
    await plan.getByText('Somebody else has to approve it').waitFor();
    assert.deepEqual(await seriousIssues(page), []);
    await dialog.getByLabel('Disks only').check();
    await plan.getByText('file systems frozen by the guest agent').waitFor();
    await dialog.getByLabel('File systems in the guest').selectOption('never');
    await plan.getByText('as after a power cut').waitFor();
    await dialog.getByLabel('Name').fill('from-the-dashboard');
    await dialog.getByLabel('Reason').fill('Tried by a test');
    await dialog.getByRole('button', { name: 'Ask for the snapshot' }).click();
    await page.getByText('The request waits for approval.').waitFor();
    await page.getByRole('link', { name: 'Show it' }).click();
    await page.getByRole('heading', { name: 'Snapshot: web-01 / from-the-dashboard' }).waitFor();
    // The requester sees the button, and why it is not for them.
    const approve = page.getByRole('button', { name: 'Approve' });
    assert.equal(await approve.getAttribute('aria-disabled'), 'true');
    await approve.hover();
    await page.getByRole('tooltip').getByText('Approve requests of others').waitFor();
  });
});

test('an approver approves on a phone, and another open page follows live', async () => {
  const watching = await openDashboard(browser, service.url, {
    token: service.fleet.tokens.viewer,
  });
  try {
    await watching.page.goto(`${service.url}/requests`);
    const row = watching.page.getByRole('row').filter({ hasText: 'before-patch' });
    await row.waitFor();
    const phone = { width: 390, height: 844 };
    await visit({ token: service.fleet.tokens.approver, ...phone }, async (page) => {
      await page.goto(`${service.url}/requests`);
      await settle(page);
      const width = await page.evaluate<number>('document.documentElement.scrollWidth');
      assert.ok(width <= phone.width, `the page is ${width} px wide`);
      const wanted = page.getByRole('row').filter({ hasText: 'before-patch' });
      await wanted.getByRole('button', { name: 'Approve' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByText('Quarterly patch of PostgreSQL').waitFor();
      assert.deepEqual(await seriousIssues(page), []);
      await dialog.getByLabel('Comment').fill('Window is clear.');
      await dialog.getByRole('button', { name: 'Approve' }).click();
      await page.getByText('Approved.').waitFor();
      await wanted.waitFor({ state: 'detached' });
    });
    await row.waitFor({ state: 'detached' });
    assert.deepEqual(watching.complaints, []);
  } finally {
    await watching.context.close();
  }
});

test('a running job moves while one looks', async () => {
  const { databasePath, fleet } = service;
  await visit({ token: fleet.tokens.viewer }, async (page) => {
    await page.goto(`${service.url}/jobs/${fleet.jobId}`);
    await settle(page);
    await advanceJob({ databasePath, jobId: fleet.jobId, share: 0.75 });
    await page.getByRole('progressbar').and(page.locator('[aria-valuenow="75"]')).waitFor();
    await page.getByText('9.8 GiB of 13 GiB').waitFor();
  });
});

test('a restore names what is lost and wants the name of the VM typed; by keyboard', async () => {
  await visit({ token: service.fleet.tokens.operator }, async (page) => {
    await page.goto(`${service.url}/snapshots/${service.fleet.snapshotId}`);
    await page.getByRole('button', { name: 'Restore' }).press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Next' }).press('Enter');
    await dialog.getByText('3 snapshots were taken since').waitFor();
    assert.ok(await dialog.getByLabel('Keep the current state as a snapshot first').isChecked());
    assert.deepEqual(await seriousIssues(page), []);
    await dialog.getByRole('button', { name: 'Next' }).press('Enter');
    const submit = dialog.getByRole('button', { name: 'Roll back' });
    const name = dialog.getByLabel('Type web-01 to confirm');
    await name.fill('web-02');
    await dialog.getByText('That is not web-01.').waitFor();
    assert.ok(await submit.isDisabled());
    await name.fill('web-01');
    assert.ok(await submit.isEnabled());
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  });
});

test('what is not possible says why: a pinned snapshot, a right that is missing', async () => {
  await visit({ token: service.fleet.tokens.administrator }, async (page) => {
    await page.goto(`${service.url}/vms/${service.fleet.vmId}`);
    await page.getByRole('button', { name: 'Actions for golden' }).click();
    await page.getByText('The snapshot is pinned; unpin it first.').waitFor();
    assert.deepEqual(await seriousIssues(page), []);
  });
  await visit({ token: service.fleet.tokens.viewer }, async (page) => {
    await page.goto(`${service.url}/snapshots/${service.fleet.snapshotId}`);
    await page.getByRole('button', { name: 'Delete' }).focus();
    await page
      .getByRole('tooltip')
      .getByText('Your role lacks the right: Delete any snapshot')
      .waitFor();
  });
});

test('a refusal of the server shows what happened and what to do', async () => {
  const opened = await openDashboard(browser, service.url, { token: service.fleet.tokens.viewer });
  try {
    await opened.page.goto(`${service.url}/audit`);
    await opened.page.getByText('You may not do that').waitFor();
    await opened.page.getByText('What to do:').waitFor();
    assert.deepEqual(await seriousIssues(opened.page), []);
  } finally {
    await opened.context.close();
  }
});

test('filters live in the address', async () => {
  await visit({ token: service.fleet.tokens.viewer }, async (page) => {
    await page.goto(`${service.url}/vms`);
    await page.getByRole('textbox', { name: 'Search by name' }).fill('web');
    await page.getByRole('link', { name: 'db-01' }).waitFor({ state: 'detached' });
    await page.getByLabel('Label', { exact: true }).selectOption('site=osaka');
    await page.getByRole('link', { name: 'web-01' }).waitFor({ state: 'detached' });
    assert.match(page.url(), /search=web&label=site%3Dosaka/);
    await page.reload();
    await page.getByRole('link', { name: 'web-02' }).waitFor();
    assert.equal(await page.getByRole('link', { name: /^(web|db|mail)-/ }).count(), 1);
  });
});

test('the first load stays light: scripts of the overview are under 300 kB compressed', async () => {
  await visit({ token: service.fleet.tokens.viewer }, async (page) => {
    await page.goto(service.url);
    await settle(page);
    const loaded = await page.evaluate<string[]>(
      `performance.getEntriesByType('resource').map((entry) => entry.name)`,
    );
    const scripts = loaded
      .map((name) => new URL(name).pathname)
      .filter((name) => name.endsWith('.js'));
    let total = 0;
    for (const script of new Set(scripts))
      total += gzipSync(await readFile(path.join(service.dashboardFolder, script))).byteLength;
    assert.ok(scripts.length > 3 && total < FIRST_LOAD_BYTES_MAX, `${total} bytes`);
    const files = await readdir(service.dashboardFolder, { recursive: true });
    assert.deepEqual(
      files.filter((file) => /\.(woff2?|ttf|map)$/.test(file)),
      [],
    );
  });
});

test('a request says how many have approved and why one may not again; an emergency begins it', async () => {
  const { fleet, url } = service;
  const administrator = createClient({ baseUrl: url, token: fleet.tokens.administrator });
  const operator = createClient({ baseUrl: url, token: fleet.tokens.operator });
  await administrator.call('confirmationRuleCreate', {
    body: { name: 'Exports', operations: ['export'], approvals: 2 },
  });
  const { id } = await operator.call('snapshotExport', {
    params: { id: fleet.snapshotId },
    body: { folder: '/srv/export' },
  });
  await visit({ token: fleet.tokens.approver }, async (page) => {
    await page.goto(`${url}/requests/${id}`);
    await page.getByText('0 of 2').waitFor();
    await page.getByText('The rule "Exports" asks for 2 approvals').first().waitFor();
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('dialog').getByLabel('Comment').fill('Once is fine.');
    await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
    await page.getByText('1 of 2').waitFor();
    await page.getByText('Once is fine.').waitFor();
    const approve = page.getByRole('button', { name: 'Approve' });
    await approve.hover();
    await page.getByRole('tooltip').getByText('You approved already').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Emergency' }).count(), 0);
    assert.deepEqual(await seriousIssues(page), []);
  });
  await visit({ token: fleet.tokens.administrator }, async (page) => {
    await page.goto(`${url}/requests/${id}`);
    await page.getByRole('button', { name: 'Emergency' }).click();
    const dialog = page.getByRole('dialog');
    const begin = dialog.getByRole('button', { name: 'Begin in an emergency' });
    assert.ok(await begin.isDisabled());
    assert.deepEqual(await seriousIssues(page), []);
    await dialog.getByLabel('Say why').fill('The array is failing.');
    await begin.click();
    await page.getByText('Begun as an emergency.').waitFor();
    await page.getByRole('blockquote').getByText('The array is failing.').waitFor();
  });
});

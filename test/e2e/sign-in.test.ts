import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Secret, TOTP } from 'otpauth';
import type { Browser } from 'playwright-core';
import { launchBrowser, openDashboard, startDashboardService } from './dashboard-service.ts';
import type { DashboardService } from './dashboard-service.ts';

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

test('a new user signs in with a temporary password, sets codes up, and signs out', async () => {
  const made = await fetch(`${service.url}/api/v1/users`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${service.fleet.tokens.administrator}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({
      name: 'nagi',
      bindings: [{ role: 'viewer' }],
      temporaryPassword: 'for the first day',
    }),
  });
  assert.equal(made.status, 201);
  const opened = await openDashboard(browser, service.url);
  const { page } = opened;
  const own = 'seven quiet herons';
  try {
    await page.getByLabel('User').fill('nagi');
    await page.getByLabel('Password').fill('for the first day');
    await page.keyboard.press('Enter');
    await page.getByText('This password is a temporary one').waitFor();
    await page.getByLabel('New password').first().fill(own);
    await page.getByLabel('New password again').fill(own);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    const kept = await page.evaluate<string>(
      'JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie])',
    );
    assert.doesNotMatch(kept, /kms_|kmd_|herons/, 'no secret is where scripts can read it');
    await page.reload();
    await page.getByRole('link', { name: 'Account of nagi' }).click();
    await page.getByRole('heading', { name: 'Your sessions' }).waitFor();
    await page.getByText('this one').waitFor();
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByLabel('Current password').fill(own);
    await page.keyboard.press('Enter');
    const secret = (await page.getByRole('dialog').locator('code').first().textContent()) ?? '';
    const code = new TOTP({ secret: Secret.fromBase32(secret) }).generate();
    await page.getByLabel('Code that the app shows').fill(code);
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'I have kept them' }).click();
    await page.getByText('Recovery codes left').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Password').waitFor();
    await page.reload();
    await page.getByLabel('Password').waitFor();
    // The browser itself reports the 409 of the temporary password.
    assert.deepEqual(
      opened.complaints.filter((complaint) => !complaint.includes('409')),
      [],
    );
  } finally {
    await opened.context.close();
  }
});
